"""The decoding loop: continuous batching over one decoder.

Requests wait in order and take rows as they become free, so one long answer never holds the rest. Each prompt is run once for its whole
group. Rows that finish stop counting at once, and are squeezed out when the work they would still waste outweighs moving the
rows behind them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reasonrl.rollout.decoder import Decoder, KeptPrompts, Window
from reasonrl.rollout.key_value_slots import KeyValueSlots
from reasonrl.rollout.protocol import SamplingSetting
from reasonrl.rollout.sampling import sample_tokens

_PREFILL_TOKENS = 8192
_SPARE_SLOTS = 512
_WASTE_SHARE = 0.125
_MOST_WASTE = 32
_ADMIT_SHARE = 0.0625
_DEAD = -1


@dataclass(frozen=True, slots=True)
class Written:
    """What one request got: `tokens` int64 and `logprobs` float32 `[time]`, and whether an end token closed it."""

    tokens: Tensor
    logprobs: Tensor
    stopped: bool


class LiveBatch:
    """Decodes one call's requests: `responses_per_prompt` for each prompt, request `i` belonging to prompt `i // responses_per_prompt`.

    `ends` bool `[vocabulary]` marks the end tokens. `slots` is storage of an earlier call, used again if it fits.
    """

    def __init__(
        self,
        decoder: Decoder,
        prompts: Sequence[Sequence[int]],
        *,
        responses_per_prompt: int,
        setting: SamplingSetting,
        ends: Tensor,
        max_sequences: int,
        slots: KeyValueSlots | None,
    ) -> None:
        self._decoder = decoder
        self._prompts = prompts
        self._per_prompt = responses_per_prompt
        self._setting = setting
        self._ends = ends
        self._requests = len(prompts) * responses_per_prompt
        self._rows = min(max_sequences, self._requests)
        self._next = 0
        self._written: list[Written | None] = [None] * self._requests
        limit, device = setting.max_response_tokens, decoder.device
        # Rings over the time: a row's token of time t is at t % limit, so no row ever overwrites its own.
        self._tokens = torch.zeros(limit, self._rows, dtype=torch.long, device=device)
        self._logprobs = torch.zeros(limit, self._rows, dtype=torch.float32, device=device)
        self._uniforms = torch.zeros(limit, self._rows, dtype=torch.float32, device=device)
        self._random = torch.Generator().manual_seed(setting.seed)
        self._starts = torch.zeros(self._rows, dtype=torch.long, device=device)
        self._start: list[int] = []
        self._born: list[int] = []
        self._request: list[int] = []
        self._live = 0
        self._wasted = 0
        self._time = max(map(len, prompts))
        self._window_start = 0
        self._bias: Tensor | None = None
        self._oldest = 0
        self.slots = slots
        if slots is not None:
            slots.origin = 0
        decoder.prepare(positions=self._time + limit)

    def run(self) -> list[Written]:
        while True:
            while self._next < self._requests and self._free >= self._worth_admitting:
                self._compact()
                self._admit()
            if not self._live:
                break
            self._step()
            if self._wasted >= min(_MOST_WASTE, _WASTE_SHARE * len(self._request)):
                self._compact()
        return [written for written in self._written if written is not None]

    @property
    def _free(self) -> int:
        return self._rows - self._live

    @property
    def _worth_admitting(self) -> int:
        return min(self._requests - self._next, max(1, int(self._rows * _ADMIT_SHARE))) if self._live else 1

    def _step(self) -> None:
        rows, time = len(self._request), self._time
        slots = self._reserved(rows, time + 1)
        starts = self._starts[:rows]
        window = Window(
            slots=slots,
            rows=rows,
            first=self._window_start - slots.origin,
            slot=time - slots.origin,
            starts=starts - slots.origin,
            bias=self._bias,
        )
        logits = self._decoder.step(self._tokens[time % len(self._tokens), :rows], time - starts, window)
        self._time = time + 1
        self._wasted += rows - self._live
        self._emit(logits, slice(0, rows))

    def _emit(self, logits: Tensor, rows: slice) -> None:
        """Samples the token of the current time for `rows`, and lets go of those that end with it."""
        ring = self._time % len(self._tokens)
        tokens, logprobs = sample_tokens(
            logits, self._uniforms[ring, rows], temperature=self._setting.temperature, top_p=self._setting.top_p
        )
        self._tokens[ring, rows] = tokens
        self._logprobs[ring, rows] = logprobs
        ended = self._ends.index_select(0, tokens)
        if ended.any():
            for row in ended.nonzero().squeeze(1).tolist():
                self._finish(row + rows.start, stopped=True)
        if self._time - self._oldest + 1 >= len(self._tokens):
            for row in range(rows.start, rows.stop):
                if self._time - self._born[row] + 1 == len(self._tokens):
                    self._finish(row, stopped=False)

    def _finish(self, row: int, *, stopped: bool) -> None:
        request = self._request[row]
        if request == _DEAD:
            return
        limit, born, end = len(self._tokens), self._born[row], self._time + 1
        first, last = born % limit, (end - 1) % limit
        if first <= last:
            tokens, logprobs = (ring[first : last + 1, row].clone() for ring in (self._tokens, self._logprobs))
        else:
            tokens, logprobs = (torch.cat((ring[first:, row], ring[: last + 1, row])) for ring in (self._tokens, self._logprobs))
        self._written[request] = Written(tokens=tokens, logprobs=logprobs, stopped=stopped)
        self._request[row] = _DEAD
        # Until it is squeezed out the row goes on at position 0, so that it never runs past the model's last one.
        self._starts[row] = self._time
        self._live -= 1

    def _compact(self) -> None:
        """Moves live rows from the end over dead ones, so that the live are the leading rows."""
        self._wasted = 0
        if self._live == len(self._request):
            return
        dead = [row for row in range(self._live) if self._request[row] == _DEAD]
        moved = [row for row in range(self._live, len(self._request)) if self._request[row] != _DEAD]
        assert self.slots is not None
        for target, source in zip(dead, moved, strict=True):
            self.slots.move_row(source=source, target=target, first=self._start[source], now=self._time)
            for rows in (self._start, self._born, self._request):
                rows[target] = rows[source]
        if moved:
            sources, targets = (torch.tensor(rows, device=self._starts.device) for rows in (moved, dead))
            for ring in (self._tokens, self._logprobs, self._uniforms):
                ring[:, targets] = ring[:, sources]
            self._starts[targets] = self._starts[sources]
        for rows in (self._start, self._born, self._request):
            del rows[self._live :]
        self._measure()

    def _measure(self) -> None:
        """What a step needs to know of all rows, and changes only with them."""
        rows = len(self._request)
        if not rows:
            return
        self._window_start, latest = min(self._start), max(self._start)
        self._oldest = min(self._born)
        self._bias = None
        if latest > self._window_start:
            places = torch.arange(self._window_start, latest, device=self._starts.device)
            before = places < self._starts[:rows, None]
            self._bias = torch.zeros(before.shape, device=before.device).masked_fill_(before, -torch.inf)

    def _admit(self) -> None:
        """Runs the prompts of the next requests that find a row, as many as one prefill takes, and samples their first tokens."""
        end = min(self._next + self._free, self._requests)
        first = self._next // self._per_prompt
        last = first
        width = 0
        counts: list[int] = []
        while last * self._per_prompt < end:
            width = max(width, len(self._prompts[last]))
            if counts and width * (len(counts) + 1) > _PREFILL_TOKENS:
                break
            counts.append(min(end, (last + 1) * self._per_prompt) - max(self._next, last * self._per_prompt))
            last += 1
        prompts = self._prompts[first:last]
        tokens = torch.zeros(len(prompts), width, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            tokens[row, width - len(prompt) :] = torch.tensor(prompt)
        logits, kept = self._decoder.prefill(tokens.to(self._decoder.device), [len(prompt) for prompt in prompts])
        self._seat(prompts, counts, logits, kept)

    def _seat(self, prompts: Sequence[Sequence[int]], counts: Sequence[int], logits: Tensor, kept: KeptPrompts) -> None:
        row, count, time = len(self._request), sum(counts), self._time
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        owner = torch.repeat_interleave(torch.arange(len(prompts)), torch.tensor(counts))
        self._starts[row : row + count] = (time - lengths[owner]).to(self._starts.device)
        for prompt, times in zip(prompts, counts, strict=True):
            self._start += [time - len(prompt)] * times
        self._born += [time] * count
        self._request += range(self._next, self._next + count)
        self._next += count
        self._live += count
        limit = len(self._uniforms)
        drawn = torch.rand(count, limit, generator=self._random).roll(time % limit, dims=1)
        self._uniforms[:, row : row + count] = drawn.t().to(self._uniforms.device)
        self._measure()
        width = max(map(len, prompts))
        if self.slots is None or self.slots.rows < self._rows:
            self.slots = KeyValueSlots.for_prompts(kept, rows=self._rows, capacity=time + min(limit, _SPARE_SLOTS))
        self._reserved(row, time + 1, first=time - width).write_prompts(kept, row=row, counts=counts, now=time)
        self._emit(logits.index_select(0, owner.to(logits.device)), slice(row, row + count))

    def _reserved(self, rows: int, end: int, first: int | None = None) -> KeyValueSlots:
        assert self.slots is not None
        start = self._window_start if first is None else min(first, self._window_start)
        self.slots.reserve(rows=rows, first=start, now=self._time, end=end)
        return self.slots
