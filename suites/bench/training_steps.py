"""Times training steps of `sparity train` side by side, and prints ratios.

    training_steps.py build/cpu/sparity [--threads 2] [--steps 6] [--turns 3] [--without-reference]

Config `fork-small`, float32, one row of seeded tokens a step. Two stages take turns at 2048 tokens, each
in a process of its own: `frozen-indexer-sft`, which is the plain step of the LM loss with AdamW over
the model, and `joint`, which adds the indexer's KL loss, its way back and AdamW over the indexer. Of
each process's steps but the first the fastest counts, of all turns the fastest; memory is the peak
resident size of the process, of all turns the smallest, since what malloc keeps besides differs from
run to run by a tenth. Then `dense-warmup` runs at 4096 tokens, where every key is a target.

Beside them stands the reference, which does all this the textbook way: one forward and backward
pass of `sparity run --impl reference` with the same losses, without an optimizer.

Aimed at: joint within 1.5 times the plain step and 10 % more memory; dense warm-up within 2 GiB.
Needs nothing but Python.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from against_transformers import write_inputs

CONFIG = "fork-small"
LENGTH, WARM_UP_LENGTH = 2048, 4096
MOST_TIME, MOST_MEMORY, MOST_WARM_UP = 1.5, 1.10, 2 << 30


def run(command: list[str], threads: int) -> dict:
    """What the command prints as JSON."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


class Bench:
    def __init__(self, program: str, folder: pathlib.Path, threads: int, steps: int) -> None:
        self.program, self.folder, self.threads, self.steps = program, folder, threads, steps
        self.model = folder / "model"
        subprocess.run(
            [program, "init", "--config", CONFIG, "--seed", "1", "--out", str(self.model)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        vocabulary = json.loads((self.model / "config.json").read_text())["vocab_size"]
        # An inputs file is a token file for `train` as well.
        self.tokens = {n: folder / f"{n}.safetensors" for n in (LENGTH, WARM_UP_LENGTH)}
        for length, path in self.tokens.items():
            write_inputs(path, length, vocabulary)

    def train(self, stage: str, length: int) -> tuple[float, int]:
        """Seconds of the fastest step but the first, and peak bytes."""
        with tempfile.TemporaryDirectory(dir=self.folder) as out:
            command = [self.program, "train", "--model", str(self.model), "--stage", stage]
            command += ["--data", str(self.tokens[length]), "--out", out, "--json"]
            command += ["--steps", str(self.steps), "--threads", str(self.threads)]
            command += ["--max-tokens", str(length)]
            peak = run(command, self.threads)["peak_resident_bytes"]
            lines = (pathlib.Path(out) / "metrics.jsonl").read_text().splitlines()
            return min(json.loads(line)["seconds"] for line in lines[1:]), peak

    def reference(self, loss: str, attention: str, length: int) -> tuple[float, int]:
        command = [self.program, "run", "--impl", "reference", "--grads", "--json"]
        command += ["--model", str(self.model), "--inputs", str(self.tokens[length])]
        command += ["--loss", loss, "--attention", attention, "--threads", str(self.threads)]
        found = run([*command, "--out", str(self.folder / "dump")], self.threads)
        return min(found["forward_backward_seconds"]), found["peak_resident_bytes"]


def row(name: str, length: int, seconds: float, peak: int) -> None:
    print(f"{name:42} {length:6} {seconds:9.2f} s {peak / (1 << 20):9.0f} MiB")


def verdict(name: str, value: float, most: float) -> None:
    print(f"{name}: {value:.2f}, aimed at {most:.2f}: {'met' if value <= most else 'MISSED'}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("program")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6, help="at least 2")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--without-reference", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(
            arguments.program, pathlib.Path(scratch), arguments.threads, arguments.steps
        )
        best: dict[str, tuple[float, int]] = {}
        for _ in range(arguments.turns):
            for stage in ("frozen-indexer-sft", "joint"):
                seconds, peak = bench.train(stage, LENGTH)
                known = best.get(stage, (seconds, peak))
                best[stage] = (min(known[0], seconds), min(known[1], peak))
        plain, joint = best["frozen-indexer-sft"], best["joint"]
        warm_up = bench.train("dense-warmup", WARM_UP_LENGTH)
        row("step of LM, AdamW", LENGTH, *plain)
        row("step of LM + KL, AdamW", LENGTH, *joint)
        row("step of dense warm-up, AdamW", WARM_UP_LENGTH, *warm_up)
        if not arguments.without_reference:
            row("reference, LM", LENGTH, *bench.reference("lm", "sparse", LENGTH))
            row("reference, LM + KL", LENGTH, *bench.reference("lm+kl", "sparse", LENGTH))
        verdict("joint over plain, time", joint[0] / plain[0], MOST_TIME)
        verdict("joint over plain, peak memory", joint[1] / plain[1], MOST_MEMORY)
        verdict("dense warm-up, GiB", warm_up[1] / (1 << 30), MOST_WARM_UP / (1 << 30))


if __name__ == "__main__":
    main()
