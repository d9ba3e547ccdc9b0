"""What a platform says of the pods of a role beyond their number and GPUs: images, resources, placement, environment."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from reasonrl.api.contract_model import (
    Amount,
    Bytes,
    ContractModel,
    FreeObject,
    LabelKey,
    LabelValue,
    NonNegativeCount,
    ObjectName,
    PathText,
)

Image = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^\S+$")]
KeyOfAnObject = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._A-Za-z0-9]+$")]
ResourceName = Annotated[str, Field(min_length=1, max_length=317, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?$")]
Amounts = Annotated[dict[ResourceName, Amount], Field(max_length=32)]


class KeyReference(ContractModel):
    """One entry of a Secret or a ConfigMap in the job's namespace."""

    name: ObjectName = Field(description="Name of the object.")
    key: KeyOfAnObject = Field(description="Key in it.")


class EnvironmentSource(ContractModel):
    """Where the value of an environment variable comes from: exactly one of the two."""

    secret_key_ref: KeyReference | None = Field(default=None, description="An entry of a Secret.")
    config_map_key_ref: KeyReference | None = Field(default=None, description="An entry of a ConfigMap.")


class EnvironmentVariable(ContractModel):
    """One environment variable: exactly one of value and valueFrom."""

    name: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._A-Za-z][-._A-Za-z0-9]*$")] = Field(
        description="Name of the variable."
    )
    value: Annotated[str, Field(max_length=32_768)] | None = Field(default=None, description="The value. Secrets belong into valueFrom.")
    value_from: EnvironmentSource | None = Field(default=None, description="An entry of a Secret or a ConfigMap as value.")


class ImagePullSecret(ContractModel):
    """A Secret to pull images with."""

    name: ObjectName = Field(description="Name of the Secret in the job's namespace.")


class ResourcesSpec(ContractModel):
    """What the container of a pod asks for, and what it gets at most. GPUs are counted by gpusPerReplica and do not belong here."""

    requests: Amounts = Field(default_factory=dict, description="Quantities that a node must have free, such as cpu: 8 and memory: 64Gi.")
    limits: Amounts = Field(default_factory=dict, description="Quantities that the container may use at most.")


class Toleration(ContractModel):
    """A taint of nodes that the pods put up with, as in Kubernetes."""

    key: LabelKey | None = Field(default=None, description="Key of the taint. Null with operator: Exists is every taint.")
    operator: Literal["Equal", "Exists"] = Field(default="Equal", description="Equal: key and value match. Exists: the key alone does.")
    value: LabelValue | None = Field(default=None, description="Value of the taint, for Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint. Null is every effect."
    )
    toleration_seconds: Annotated[NonNegativeCount, Field(le=31_536_000)] | None = Field(
        default=None, description="How long a pod stays after such a taint came, in seconds, for NoExecute. Null is for ever."
    )


class PodOverrides(ContractModel):
    """The pods of one role, where they differ from what the operator makes of itself."""

    image: Image | None = Field(default=None, description="Image of the role's container. Null is spec.image.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        default=None, description="When the image is pulled. Null is Kubernetes' default for its tag."
    )
    image_pull_secrets: Annotated[tuple[ImagePullSecret, ...], Field(max_length=8)] = Field(
        default=(), description="Secrets to pull the image with."
    )
    env: Annotated[tuple[EnvironmentVariable, ...], Field(max_length=64)] = Field(default=(), description="Environment variables.")
    resources: ResourcesSpec = Field(default_factory=ResourcesSpec, description="Requests and limits of the container, without GPUs.")
    gpu_resource_name: ResourceName = Field(
        default="nvidia.com/gpu", description="Resource by which the cluster counts the GPUs of gpusPerReplica."
    )
    shared_memory: Bytes | None = Field(
        default=None,
        description="Size of /dev/shm as a quantity such as 16Gi, which counts towards the memory limit. Null is 1Gi, as engines need "
        "more than a container's usual 64 MiB.",
    )
    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=32)] = Field(
        default_factory=dict, description="Labels that a node must have."
    )
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=32)] = Field(default=(), description="Taints to put up with.")
    affinity: FreeObject | None = Field(default=None, description="Affinity of the pods, as Kubernetes has it in a pod's spec.")
    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=64)] = Field(
        default_factory=dict, description="Further labels of the pods. Those of reasonrl.dev are the operator's."
    )
    annotations: Annotated[dict[LabelKey, Annotated[str, Field(max_length=32_768)]], Field(max_length=64)] = Field(
        default_factory=dict, description="Further annotations of the pods. Those of reasonrl.dev are the operator's."
    )
    service_account_name: ObjectName | None = Field(
        default=None, description="ServiceAccount of the pods. Its token is not mounted. Null is the namespace's default."
    )
    runtime_class_name: ObjectName | None = Field(default=None, description="RuntimeClass of the pods. Null is the cluster's default.")
    termination_grace_period_seconds: Annotated[NonNegativeCount, Field(le=86_400)] | None = Field(
        default=None,
        description="Time between SIGTERM and SIGKILL, in seconds: a checkpoint must fit into it. Null is 300, and more for trainers of a "
        "model whose name says that its checkpoints take longer (at 500 MB a second, 7,200 at most).",
    )


class PodsSpec(ContractModel):
    """The pods of each role. On a cluster."""

    trainer: PodOverrides = Field(default_factory=PodOverrides, description="The trainers' pods.")
    rollout: PodOverrides = Field(default_factory=PodOverrides, description="The rollout pods.")


class VolumeMount(ContractModel):
    """A PersistentVolumeClaim in every pod of the job: models, data, reward files."""

    claim_name: ObjectName = Field(description="PersistentVolumeClaim in the job's namespace.")
    mount_path: Annotated[PathText, Field(pattern=r"^/[^:]*$")] = Field(description="Directory in the pods, an absolute path.")
    read_only: bool = Field(default=True, description="Whether the pods may only read it.")
