"""A job's settings in the trainers' own words: what every trainer is made with, in whichever process it lives."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from reasonrl.api.job import JobSpec
from reasonrl.rl.importance import ImportanceCorrection
from reasonrl.rl.kl import KLTerm
from reasonrl.rl.selection_rules import SELECTION_RULES
from reasonrl.run.learning_batch import BatchRules
from reasonrl.train.update_rules import ComputeRules, LossRules, OptimizerRules


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerRules:
    """Plain values, so that they travel between processes."""

    loss: LossRules
    optimizer: OptimizerRules
    compute: ComputeRules
    keep_reference: bool


def trainer_rules(spec: JobSpec) -> TrainerRules:
    algorithm = spec.algorithm
    sampling = algorithm.importance_sampling
    return TrainerRules(
        loss=LossRules(
            loss=algorithm.loss.type,
            aggregation=algorithm.loss.aggregation,
            dual_clip=algorithm.loss.dual_clip,
            correction=ImportanceCorrection(kind=sampling.correction, level=sampling.level, cap=sampling.cap, floor=sampling.floor),
            old_logprobs=sampling.old_log_probs,
            kl=_kl_term(spec),
        ),
        optimizer=OptimizerRules(
            betas=algorithm.optimizer.betas,
            epsilon=algorithm.optimizer.epsilon,
            weight_decay=algorithm.optimizer.weight_decay,
            max_gradient_norm=algorithm.optimizer.max_gradient_norm,
        ),
        compute=ComputeRules(
            tokens_per_micro_batch=spec.trainer.tokens_per_micro_batch,
            logits_chunk_tokens=spec.trainer.logits_chunk_tokens,
            gradient_checkpointing=spec.trainer.gradient_checkpointing,
            dtype=getattr(torch, spec.model.dtype),
        ),
        keep_reference=algorithm.kl is not None,
    )


def batch_rules(spec: JobSpec) -> BatchRules:
    algorithm = spec.algorithm
    return BatchRules(
        estimator=algorithm.advantage.estimator,
        epsilon=algorithm.advantage.epsilon,
        selection=tuple(SELECTION_RULES[each.type](**each.model_dump(exclude={"type"})) for each in spec.selection),
        updates_per_step=algorithm.updates_per_step,
        epochs=algorithm.epochs,
        kl=_kl_term(spec),
    )


def _kl_term(spec: JobSpec) -> KLTerm | None:
    kl = spec.algorithm.kl
    return None if kl is None else KLTerm(estimator=kl.estimator, placement=kl.placement, clamp=kl.clamp)
