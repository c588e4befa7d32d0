"""Times `sparity run` and transformers side by side on the same weights, and prints ratios.

Config `fork-small`, float32, batch 1, two threads. For each length the two take turns, each in a
process of its own: a forward pass, then a forward and backward pass of the LM loss. Each process
warms up once and then times; of all turns the fastest counts, on both sides. Memory is the peak
resident size above that of the process before it loads the model.

transformers runs with sdpa and the faster of its expert implementations, plain (`def`) or with its
malloc tuned (`tun`: large blocks kept instead of returned to the system, which spares it page
faults). Ratios are theirs over ours: above 1, Sparity is faster or smaller.

Needs the interpreter of fixtures/oracles/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import time

TUNED = {
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}
REPEATS = 3


def peak_bytes() -> int:
    """Peak resident size of this process. Not getrusage's, which is inherited from the parent."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def write_inputs(path: pathlib.Path, length: int, vocabulary: int) -> None:
    """Seeded token ids, which are their own labels. By hand: this process must stay small, since a
    child's peak is never reported below its parent's size."""
    draw = random.Random(1)
    ids = struct.pack(f"<{length}q", *(draw.randrange(vocabulary) for _ in range(length)))
    entry = {"dtype": "I64", "shape": [1, length]}
    header = json.dumps(
        {
            "input_ids": {**entry, "data_offsets": [0, len(ids)]},
            "labels": {**entry, "data_offsets": [len(ids), 2 * len(ids)]},
        }
    ).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(struct.pack("<Q", len(header)) + header + ids + ids)


def run_transformers(folder: str, inputs: str, backward: bool, threads: int) -> dict[str, float]:
    """The work of one transformers process."""
    import torch
    from safetensors.torch import load_file
    from transformers import DeepseekV32ForCausalLM

    torch.set_num_threads(threads)
    ids = load_file(inputs)["input_ids"]
    before = peak_bytes()
    best = float("inf")
    for experts in ("grouped_mm", "eager"):
        model = DeepseekV32ForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            attn_implementation="sdpa",
            experts_implementation=experts,
            local_files_only=True,
        ).eval()
        for turn in range(1 + REPEATS):
            start = time.perf_counter()
            with torch.set_grad_enabled(backward):
                result = model(ids, labels=ids if backward else None, use_cache=False)
            if backward:
                result.loss.backward()
                model.zero_grad()
            if turn:
                best = min(best, time.perf_counter() - start)
            del result
    return {"seconds": best, "bytes": peak_bytes() - before}


def run_sparity(
    program: pathlib.Path, folder: pathlib.Path, inputs: pathlib.Path, backward: bool, threads: int
) -> dict[str, float]:
    """One `sparity run`; its empty process is `sparity --help`."""
    out = folder / "out.safetensors"
    command = [str(program), "run", "--model", str(folder), "--inputs", str(inputs)]
    command += ["--out", str(out), "--threads", str(threads), "--repeat", str(REPEATS), "--json"]
    done = subprocess.run(
        command + (["--grads"] if backward else ["--loss", "none"]),
        check=True,
        capture_output=True,
        text=True,
    )
    said = json.loads(done.stdout)
    seconds = said["forward_backward_seconds" if backward else "forward_seconds"]
    return {"seconds": min(seconds), "bytes": said["peak_resident_bytes"] - empty_bytes(program)}


def empty_bytes(program: pathlib.Path) -> int:
    """Peak resident size of the program when it does nothing."""
    report = subprocess.Popen([str(program), "--help"], stdout=subprocess.DEVNULL)
    _, _, usage = os.wait4(report.pid, 0)
    return usage.ru_maxrss * 1024


def in_a_process(arguments: list[str], tuned: bool) -> dict[str, float] | None:
    """This script again, as the transformers side; None where it did not survive."""
    done = subprocess.run(
        [sys.executable, __file__, *arguments],
        env={**os.environ, **(TUNED if tuned else {})},
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def best(results: list[dict[str, float]]) -> dict[str, float]:
    """Of all turns the fastest and the smallest."""
    return {key: min(result[key] for result in results) for key in results[0]}


def row(name: str, ours: dict[str, float], theirs: list[dict[str, float] | None]) -> str:
    """One line of the table."""
    cells = [f"{name:<28}", f"{ours['seconds']:9.3f} s", f"{ours['bytes'] / 2**20:8.0f} MB"]
    for result in theirs:
        if result is None:
            cells.append(f"{'did not fit':>30}")
            continue
        speed = result["seconds"] / ours["seconds"]
        size = result["bytes"] / ours["bytes"]
        cells.append(f"{result['seconds']:9.3f} s {speed:6.1f}x {size:6.1f}x mem")
    return "  ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("program", type=pathlib.Path, help="the sparity program")
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 2048, 8192])
    parser.add_argument("--turns", type=int, default=2, help="processes a side (default 2)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--backward-up-to", type=int, default=2048, help="longest of theirs")
    if "--worker" in sys.argv:
        folder, inputs, backward, threads = sys.argv[2:6]
        print(json.dumps(run_transformers(folder, inputs, backward == "1", int(threads))))
        return
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary) / "small"
        subprocess.run(
            [arguments.program, "init", "--config", "fork-small", "--seed", "1", "--out", folder],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
        print(f"{'':<28}  {'sparity':>11}  {'above empty':>11}  {'transformers, def':>30}  tun")
        for length in arguments.lengths:
            inputs = folder / f"{length}.safetensors"
            write_inputs(inputs, length, vocabulary)
            for backward in (False, True):
                ours, plain, tuned = [], [], []
                for _ in range(arguments.turns):
                    call = (arguments.program, folder, inputs, backward, arguments.threads)
                    ours.append(run_sparity(*call))
                    if backward and length > arguments.backward_up_to:
                        continue
                    worker = ["--worker", str(folder), str(inputs), str(int(backward))]
                    worker.append(str(arguments.threads))
                    plain.append(in_a_process(worker, False))
                    tuned.append(in_a_process(worker, True))
                theirs = [best(t) if t and all(t) else None for t in (plain, tuned)]
                name = f"forward{' + backward' if backward else ''} S={length}"
                print(row(name, best(ours), theirs), flush=True)


if __name__ == "__main__":
    main()
