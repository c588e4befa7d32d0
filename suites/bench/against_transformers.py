"""Times `sparity run` and transformers side by side on the same weights, and prints ratios.

Config `fork-small`, float32, batch 1, two threads. For each length the two take turns, each in a
process of its own: a forward pass, then a forward and backward pass of the LM loss. Each process
warms up once and then times; of all turns the fastest counts, on both sides. Memory is the peak
resident size above that of the process before it loads the model.

transformers runs with sdpa and the faster of its expert implementations, plain (`def`) or with its
malloc tuned (`tun`: large blocks kept instead of returned to the system, which spares it page
faults). Ratios are theirs over ours: above 1, Sparity is faster or smaller. Each is held against
what a prototype of the candidate reached; a ratio below that is marked and listed at the end, with
where our time or memory goes.

Beside every timing stands what the machine gave at that moment: the rate of a float32 matrix
product, the slower of a probe before and one after. --json writes all figures for
`sparity report render`.

Needs the interpreter of fixtures/oracles/README.md.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import pathlib
import random
import signal
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

# Ratios that the candidate has to reach, against transformers as it comes; where there is no
# figure, nothing is aimed at.
TARGETS = {
    (False, 2048): {"plain": 7.0, "memory": 3.0},
    (False, 8192): {"plain": 14.0, "memory": 10.0},
    (True, 2048): {"plain": 4.0, "memory": 3.0},
}
# Our forward from 2048 to 8192 tokens: at most as its matrix products grow.
LARGEST_GROWTH = 9.0


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


def run_transformers(
    folder: str, inputs: str, backward: bool, threads: int, experts: str
) -> dict[str, float]:
    """The work of one transformers process."""
    import torch
    from safetensors.torch import load_file
    from transformers import DeepseekV32ForCausalLM

    torch.set_num_threads(threads)
    ids = load_file(inputs)["input_ids"]
    before = peak_bytes()
    fastest = float("inf")
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
            fastest = min(fastest, time.perf_counter() - start)
        del result
    return {"seconds": fastest, "bytes": peak_bytes() - before}


def run_sparity(
    program: pathlib.Path, folder: pathlib.Path, inputs: pathlib.Path, backward: bool, threads: int
) -> dict[str, float]:
    """One `sparity run`; its empty process is `sparity --help`."""
    out = folder.parent / "out.safetensors"
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


def gemm_rate(program: pathlib.Path, threads: int) -> float:
    """What this machine does now: flops a second of a product of two float32 matrices."""
    command = [str(program), "bench", "--config", "tiny", "--repeat", "1", "--json"]
    command += ["--threads", str(threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["gemm_flops_per_second"]


def empty_bytes(program: pathlib.Path) -> int:
    """Peak resident size of the program when it does nothing."""
    report = subprocess.Popen([str(program), "--help"], stdout=subprocess.DEVNULL)
    _, _, usage = os.wait4(report.pid, 0)
    return usage.ru_maxrss * 1024


def in_a_process(arguments: list[str], tuned: bool) -> dict[str, float] | None:
    """This script again, as the transformers side, with either of its expert implementations:
    the figures of the faster. None where its memory ended it; any other end is an error."""
    found = []
    for experts in ("grouped_mm", "eager"):
        done = subprocess.run(
            [sys.executable, __file__, "--worker", *arguments, experts],
            env={**os.environ, **(TUNED if tuned else {})},
            capture_output=True,
            text=True,
        )
        if done.returncode == 0:
            found.append(json.loads(done.stdout.splitlines()[-1]))
        elif done.returncode != -signal.SIGKILL and "memory" not in done.stderr:
            sys.exit(f"transformers ({experts}) ended with {done.returncode}:\n{done.stderr}")
    return min(found, key=lambda each: each["seconds"]) if found else None


def best(results: list[dict[str, float]]) -> dict[str, float]:
    """Of all turns the fastest and the smallest."""
    return {key: min(result[key] for result in results) for key in results[0]}


def ratios(measured: dict) -> dict[str, float | None]:
    """Theirs over ours; memory beside the smaller of theirs. None where theirs did not run."""
    ours = measured["ours"]
    theirs = {key: measured[key] for key in ("plain", "tuned")}
    found = {key: side and side["seconds"] / ours["seconds"] for key, side in theirs.items()}
    sizes = [side["bytes"] for side in theirs.values() if side]
    found["memory"] = min(sizes) / ours["bytes"] if sizes else None
    return found


def misses(measured: dict) -> list[str]:
    """Which ratios are not what is aimed at. What did not run misses nothing."""
    found = ratios(measured)
    aims = {key: measured[f"target_{key}"] for key in found}
    return [
        key
        for key in found
        if found[key] is not None and aims[key] is not None and not found[key] >= aims[key]
    ]


def name(measured: dict) -> str:
    return f"{measured['pass'].replace('_', ' + ')} S={measured['tokens']}"


def row(measured: dict) -> str:
    """One line of the table."""
    ours = measured["ours"]
    cells = [f"{name(measured):<28}", f"{ours['seconds']:9.3f} s"]
    cells.append(f"{ours['bytes'] / 2**20:8.0f} MB")
    found = ratios(measured)
    for key in ("plain", "tuned"):
        if measured[key] is None:
            cells.append(f"{'not run':>24}")
            continue
        mark = "!" if key in misses(measured) else " "
        size = measured[key]["bytes"] / ours["bytes"]
        cells.append(f"{measured[key]['seconds']:9.3f} s {found[key]:5.1f}x{mark} {size:5.1f}x mem")
    cells.append(f"{measured['gemm_flops_per_second'] / 1e9:6.0f} GF/s")
    return "  ".join(cells)


def growth(measured: list[dict]) -> str | None:
    """How our forward grows from 2048 to 8192 tokens, where both were run."""
    seconds = {m["tokens"]: m["ours"]["seconds"] for m in measured if m["pass"] == "forward"}
    if not {2048, 8192} <= seconds.keys():
        return None
    found = seconds[8192] / seconds[2048]
    verdict = "within" if found <= LARGEST_GROWTH else "MISSED:"
    return f"our forward from 2048 to 8192 tokens: {found:.1f}x, {verdict} {LARGEST_GROWTH}x"


def reason(program: pathlib.Path, measured: dict, key: str, threads: int) -> str:
    """Where our own time or memory goes in a pass whose ratio is not what is aimed at."""
    command = [str(program), "bench", "--config", "fork-small", "--tokens", str(measured["tokens"])]
    command += ["--repeat", "2", "--threads", str(threads), "--profile", "--json"]
    backward = measured["pass"] == "forward_backward"
    done = subprocess.run(
        command + (["--backward"] if backward else []), check=True, capture_output=True, text=True
    )
    profile = json.loads(done.stdout)
    if key == "memory":
        phases = (f"{p['phase']} {p['peak_bytes'] / 2**20:.0f} MB" for p in profile["memory"])
        return "our peaks: " + ", ".join(phases)
    ways = ("forward", "backward") if backward else ("forward",)
    spent = []
    for op in profile["ops"]:
        seconds = sum(op[f"{way}_seconds"] for way in ways)
        # The roofline: what products and moving take at the machine's rates, the longer of them.
        least = sum(
            max(
                op[f"{way}_flops"] / profile["gemm_flops_per_second"],
                op[f"{way}_bytes"] / profile["copy_bytes_per_second"],
            )
            for way in ways
        )
        spent.append((seconds, op["op"], least / seconds if seconds > 0 else 0.0))
    whole = sum(seconds for seconds, _, _ in spent)
    parts = (
        f"{op} {seconds / whole:.0%} ({share:.0%} of the roofline)"
        if share > 0
        else f"{op} {seconds / whole:.0%}"
        for seconds, op, share in sorted(spent, reverse=True)[:5]
    )
    return "our time: " + ", ".join(parts)


def measure(
    arguments: argparse.Namespace,
    folder: pathlib.Path,
    inputs: pathlib.Path,
    backward: bool,
    length: int,
) -> dict:
    """One pass of both programs, in turns."""
    program, threads = arguments.program, arguments.threads
    ours, plain, tuned = [], [], []
    rates = [gemm_rate(program, threads)]
    for _ in range(arguments.turns):
        ours.append(run_sparity(program, folder, inputs, backward, threads))
        if not backward or length <= arguments.backward_up_to:
            worker = [str(folder), str(inputs), str(int(backward)), str(threads)]
            plain.append(in_a_process(worker, False))
            tuned.append(in_a_process(worker, True))
        rates.append(gemm_rate(program, threads))
    plain, tuned = (best(side) if side and all(side) else None for side in (plain, tuned))
    target = TARGETS.get((backward, length), {})
    return {
        "pass": "forward_backward" if backward else "forward",
        "tokens": length,
        "ours": best(ours),
        "plain": plain,
        "tuned": tuned,
        "gemm_flops_per_second": min(rates),
        **{f"target_{key}": target.get(key) for key in ("plain", "tuned", "memory")},
    }


def processor() -> str:
    found = [line for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return found[0].split(":", 1)[1].strip() if found else "unknown"


def document(arguments: argparse.Namespace, measured: list[dict]) -> dict:
    """What `sparity report render` reads: reports/schema/performance-1.1.schema.json."""
    return {
        "kind": "against transformers",
        "schema_version": "1.0",
        "cpu_model": processor(),
        "transformers": importlib.metadata.version("transformers"),
        "config": "fork-small",
        "threads": arguments.threads,
        "passes": measured,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("program", type=pathlib.Path, help="the sparity program")
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 2048, 8192])
    parser.add_argument("--turns", type=int, default=2, help="processes a side (default 2)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--backward-up-to", type=int, default=2048, help="longest of theirs")
    parser.add_argument("--json", type=pathlib.Path, help="also write the figures to this file")
    if "--worker" in sys.argv:
        folder, inputs, backward, threads, experts = sys.argv[2:7]
        print(json.dumps(run_transformers(folder, inputs, backward == "1", int(threads), experts)))
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
        print(
            f"{'':<28}  {'sparity':>11}  {'above empty':>11}  {'transformers, def':>26}"
            f"  {'tun':>26}  {'GEMM probe':>11}"
        )
        measured = []
        for length in arguments.lengths:
            inputs = folder / f"{length}.safetensors"
            write_inputs(inputs, length, vocabulary)
            for backward in (False, True):
                measured.append(measure(arguments, folder, inputs, backward, length))
                print(row(measured[-1]), flush=True)
                if arguments.json:
                    text = json.dumps(document(arguments, measured), indent=1)
                    arguments.json.write_text(text + "\n")
    if line := growth(measured):
        print(line)
    for each in measured:
        for key in misses(each):
            aim = each[f"target_{key}"]
            print(f"missed: {name(each)}: {key} {ratios(each)[key]:.1f}x, aimed at {aim:.1f}x")
            print(f"    {reason(arguments.program, each, key, arguments.threads)}")


if __name__ == "__main__":
    main()
