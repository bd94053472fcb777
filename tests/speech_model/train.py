"""Trains a small model: `python -m tests.speech_model.train --run FOLDER [--plan cpu|gpu|parakeet]`, resumes by itself.

Sound is spoken, mixed and spoiled while it trains; the same seed and plan give the same windows on any machine.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from math import ceil
from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from tests.speech_model import clips, tokenizer
from tests.speech_model.clips import Recipe, Shard
from tests.speech_model.learner import Learner, Losses
from tests.speech_model.network import Listener
from tests.speech_model.parakeet import CtcListener
from tests.speech_model.targets import Batch, Vocabulary, collate
from tests.speech_model.windows import Style, compose


@dataclass(frozen=True)
class Plan:
    """Everything that decides what is learned; resuming may change `steps` and nothing else."""

    steps: int
    listener: str = "whisper"
    seed: int = 1
    seconds_per_batch: float = 90.0
    learning_rate: float = 2e-3
    warm_up: int = 150
    settle: float = 0.35
    clips_per_shard: int = 3000
    steps_per_shard: int = 100
    shards: int = 16
    save_every: int = 100
    workers: int = 1
    other_voices: float = 0.35
    style: Style = field(default_factory=Style)

    @property
    def recipe(self) -> Recipe:
        return Recipe(self.seed, self.clips_per_shard, self.style.german, self.other_voices)


LISTENERS: dict[str, Callable[[Vocabulary], Learner]] = {"whisper": Listener, "parakeet": CtcListener}
PARAKEET_STYLE = Style(german=0.3, prompt=0.0)
MAY_CHANGE = ("steps", "workers", "save_every", "shards")
PLANS = {
    "tiny": Plan(4, seconds_per_batch=6.0, clips_per_shard=12, steps_per_shard=2, save_every=2, workers=0),
    "cpu": Plan(8000, seconds_per_batch=42.0, warm_up=100, shards=20, other_voices=0.3, style=Style(german=0.3)),
    "gpu": Plan(8000, seconds_per_batch=480.0, warm_up=200, workers=14),
    "tiny-parakeet": Plan(
        4, "parakeet", seconds_per_batch=6.0, clips_per_shard=12, steps_per_shard=2, save_every=2, workers=0
    ),
    "parakeet": Plan(
        2500, "parakeet", seconds_per_batch=60.0, warm_up=100, shards=20, other_voices=0.3, style=PARAKEET_STYLE
    ),
}


def window_seconds(done: float, r: Random) -> float:
    """Short windows first, whole ones more and more; always some of each."""
    kind, whole = r.random(), min(0.7, max(0.0, 2 * (done - 0.12)))
    if kind < whole:
        return 30.0
    return r.choice([10.0, 15.0]) if done > 0.12 and kind < whole + 0.2 else r.choice([5.0, 6.0, 7.0])


class Steps(Dataset[Batch]):
    """The batch of any step, from the seed and the step's number alone."""

    def __init__(self, plan: Plan, vocabulary: Vocabulary, folder: Path) -> None:
        self._plan, self._vocabulary, self._folder = plan, vocabulary, folder
        self._shard: tuple[int, Shard] | None = None

    def __len__(self) -> int:
        return self._plan.steps

    def _shard_of(self, step: int) -> Shard:
        number = step // self._plan.steps_per_shard % self._plan.shards
        if self._shard is None or self._shard[0] != number:
            self._shard = (number, clips.load(self._plan.recipe, number, self._folder))
        return self._shard[1]

    def __getitem__(self, step: int) -> Batch:
        plan, r = self._plan, Random(f"step {self._plan.seed} {step}")
        seconds = min(window_seconds(step / plan.steps, r), plan.seconds_per_batch)
        windows = ceil(plan.seconds_per_batch / seconds)
        shard = self._shard_of(step)
        made = [compose(shard, seconds, r, plan.style) for _ in range(windows)]
        return collate(self._vocabulary, made, r.randrange(0, 1501 - round(seconds * 50)), r)


def rate(plan: Plan, step: int) -> float:
    """Rises, stays, and settles to nothing over the last part."""
    left = (plan.steps - step) / (plan.steps * plan.settle)
    return plan.learning_rate * min(1.0, (step + 1) / plan.warm_up, max(left, 0.01))


def _optimizers(listener: Learner, learning_rate: float) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the matrices within layers, AdamW for the rest: half as many steps as AdamW alone."""
    matrices = listener.matrices()
    chosen = {id(p) for p in matrices}
    others = [p for p in listener.parameters() if p.requires_grad and id(p) not in chosen]
    return (
        torch.optim.Muon(matrices, lr=learning_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01),
    )


class Trainer:
    """One training run in a folder."""

    def __init__(self, plan: Plan, folder: Path, device: str) -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.folder, self.device = plan, folder, device
        self.vocabulary = Vocabulary(tokenizer.build())
        self.listener = LISTENERS[plan.listener](self.vocabulary).to(device)
        self.optimizers = _optimizers(self.listener, plan.learning_rate)
        self.step = 0
        self._resume()

    @property
    def state_file(self) -> Path:
        return self.folder / "state.pt"

    def start_from(self, run: Path) -> None:
        """Takes the weights of another run, unless this one has begun."""
        if self.step == 0 and not self.state_file.exists():
            state = torch.load(run / "state.pt", map_location=self.device, weights_only=True)
            self.listener.load_state_dict(state["listener"])

    def _resume(self) -> None:
        if not self.state_file.exists():
            return
        state = torch.load(self.state_file, map_location=self.device, weights_only=True)
        begun, now = json.loads(state["plan"]), asdict(self.plan)
        if any(now[name] != value for name, value in begun.items() if name not in MAY_CHANGE):
            raise SystemExit(f"{self.folder} holds a run of another plan: choose another folder")
        self.listener.load_state_dict(state["listener"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.step = state["step"]

    def save(self) -> None:
        state = {
            "plan": json.dumps(asdict(self.plan)),
            "step": self.step,
            "listener": self.listener.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        part = self.state_file.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.state_file)

    @property
    def _clips(self) -> Path:
        return self.folder / "clips"

    def _speak(self, until: int) -> None:
        needed = {step // self.plan.steps_per_shard % self.plan.shards for step in range(self.step, until)}
        clips.prepare(self.plan.recipe, sorted(needed), self._clips, max(1, self.plan.workers))

    def _batches(self, until: int) -> Iterator[Batch]:
        steps = Steps(self.plan, self.vocabulary, self._clips)
        todo = range(self.step, until)
        loader = DataLoader(steps, batch_size=None, sampler=todo, num_workers=self.plan.workers)
        for batch in loader:
            moved = {k: v.to(self.device) for k, v in vars(batch).items() if isinstance(v, Tensor)}
            yield replace(batch, **moved)

    def learn(self, batch: Batch) -> Losses:
        found = self.listener.losses(batch)
        self.listener.zero_grad()
        torch.autograd.backward(found.total)
        nn.utils.clip_grad_norm_(self.listener.parameters(), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate(self.plan, self.step)
            optimizer.step()
        self.step += 1
        return found

    def run(self, until: int | None = None) -> None:
        """To the end of the plan, or to a step before it."""
        until = min(until or self.plan.steps, self.plan.steps)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._speak(until)
        began, first = time.monotonic(), self.step
        for batch in self._batches(until):
            found = self.learn(batch)
            if self.step % 10 == 0:
                each_s = (time.monotonic() - began) / (self.step - first)
                self._show(found, batch, each_s)
            if self.step % self.plan.save_every == 0 or self.step == until:
                self.save()

    def _show(self, found: Losses, batch: Batch, each_s: float) -> None:
        parts = "  ".join(f"{name} {float(part.detach()):.3f}" for name, (_, part) in found.parts.items())
        left_min = each_s * (self.plan.steps - self.step) / 60
        size = f"{len(batch.wave)} x {batch.wave.shape[1] / 16_000:.0f} s"
        head = f"step {self.step}/{self.plan.steps}  {size}"
        print(f"{head}  {parts}  right {found.right:.3f}  {each_s:.2f} s a step, {left_min:.0f} min left", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of this run; an interrupted run goes on")
    parser.add_argument("--plan", choices=sorted(PLANS), default="gpu" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, help="another length than the plan's")
    parser.add_argument("--seed", type=int, help="another seed than the plan's")
    parser.add_argument("--start-from", type=Path, help="folder of another run, whose weights this one begins with")
    given = parser.parse_args()
    plan = PLANS[given.plan]
    plan = replace(plan, steps=given.steps or plan.steps, seed=plan.seed if given.seed is None else given.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    trainer = Trainer(plan, given.run, device)
    if given.start_from:
        trainer.start_from(given.start_from)
    trainer.run()


if __name__ == "__main__":
    main()
