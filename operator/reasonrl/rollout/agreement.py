"""Does a decoder agree with the model it stands for? Asked once, before an engine samples with it.

The gap is measured through the very loop that samples, on ragged prompts in groups, so the cache, the masks and the positions are
under test along with the arithmetic.
"""

from __future__ import annotations

import torch
from torch import nn

from reasonrl.rollout.decoder import Decoder
from reasonrl.rollout.live_batch import LiveBatch
from reasonrl.rollout.protocol import SamplingSetting

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.25}
"""Largest |decoder − model| log-prob of a sampled token, in nats, that counts as agreement.

Measured for small models: 3e-6 and 0.04. A wrong mask, position or scale shows as 0.1 to several nats.
"""

_PROMPT_LENGTHS = (2, 11, 5)
_TOKENS = 6


@torch.no_grad()
def logprob_gap(decoder: Decoder, model: nn.Module) -> float:
    """Largest difference in nats between the log-probs that `decoder` reports for what it samples and `model`'s plain forward pass."""
    random = torch.Generator().manual_seed(0)
    prompts = [torch.randint(decoder.vocabulary, (length,), generator=random).tolist() for length in _PROMPT_LENGTHS]
    batch = LiveBatch(
        decoder,
        prompts,
        responses_per_prompt=2,
        setting=SamplingSetting(max_response_tokens=_TOKENS, temperature=1.0, seed=0),
        ends=torch.zeros(decoder.vocabulary, dtype=torch.bool, device=decoder.device),
        max_sequences=len(prompts) * 2 - 1,
        slots=None,
    )
    gap = 0.0
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    for index, written in enumerate(batch.run()):
        prompt = torch.tensor(prompts[index // 2])
        tokens = torch.cat((prompt, written.tokens.cpu())).to(device)
        logits = model(input_ids=tokens[None], use_cache=False).logits[0, len(prompt) - 1 : -1].float()
        expected = torch.log_softmax(logits, dim=1).gather(1, tokens[len(prompt) :, None]).squeeze(1)
        gap = max(gap, float((expected.cpu() - written.logprobs.cpu()).abs().nan_to_num(nan=torch.inf).max()))
    model.train(training)
    return gap
