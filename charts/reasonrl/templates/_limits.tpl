{{- /*
The platform's limits in CEL, for jobs and for blueprints of namespaces, which are part of a job's spec. Variables name what the checks
have in common; each check says what is wrong, what was found and what to do.

What a policy sees is one object. A job's blueprint is another, so a role's size must be written in one of the two: else a job could take the
number of pods from here and the GPUs of each from there, and neither would be beyond the limit.
*/ -}}

{{- define "reasonrl.limits.variables" -}}
- name: images
  expression: >-
    [object.spec.?image.orValue(''), object.spec.?pods.?trainer.?image.orValue(''), object.spec.?pods.?rollout.?image.orValue('')]
    .filter(image, image != '')
- name: queue
  expression: object.spec.?scheduling.?queue.orValue('')
- name: trainers
  expression: object.spec.?trainer.?replicas.orValue(1)
- name: trainerGpus
  expression: object.spec.?trainer.?gpusPerReplica.orValue(0)
- name: rollouts
  expression: object.spec.?rollout.?replicas.orValue(1)
- name: rolloutGpus
  expression: object.spec.?rollout.?gpusPerReplica.orValue(0)
- name: colocated
  expression: object.spec.?rollout.?placement.orValue('Disaggregated') == 'Colocated'
- name: gpus
  expression: >-
    variables.trainers * variables.trainerGpus + (variables.colocated ? 0 : variables.rollouts * variables.rolloutGpus)
{{- end -}}

{{- /* One check: a dict of `check`, `message` (CEL, a string) and `advice`. */ -}}
{{- define "reasonrl.limits.check" -}}
- expression: >-
    {{ .check }}
  messageExpression: >-
    {{ .message }}{{ with .advice }} + {{ printf " %s" . | toJson }}{{ end }}
  reason: Forbidden
{{ end -}}

{{- define "reasonrl.limits.common" -}}
{{- $limits := .Values.admissionPolicy -}}
{{- $advice := $limits.advice -}}
{{- with $limits.allowedImagePrefixes -}}
{{- $prefixes := toJson . -}}
{{- $good := printf "%s.exists(prefix, image.startsWith(prefix))" $prefixes -}}
{{- include "reasonrl.limits.check" (dict "advice" $advice
  "check" (printf "variables.images.all(image, %s)" $good)
  "message" (printf "'image ' + variables.images.filter(image, !%s)[0] + ': images must begin with ' + %s.join(' or ') + '; use one from there.'" $good $prefixes)) -}}
{{- end -}}
{{- with $limits.allowedQueues -}}
{{- include "reasonrl.limits.check" (dict "advice" $advice
  "check" (printf "variables.queue == '' || variables.queue in %s" (toJson .))
  "message" (printf "'spec.scheduling.queue: ' + variables.queue + ' is not among the queues of this cluster: ' + %s.join(', ') + '.'" (toJson .))) -}}
{{- end -}}
{{- with $limits.allowedPriorityClasses -}}
{{- $class := "object.spec.?scheduling.?priorityClassName.orValue('')" -}}
{{- include "reasonrl.limits.check" (dict "advice" $advice
  "check" (printf "%s == '' || %s in %s" $class $class (toJson .))
  "message" (printf "'spec.scheduling.priorityClassName: ' + %s + ' may not be used by jobs; use ' + %s.join(' or ') + '.'" $class (toJson .))) -}}
{{- end -}}
{{- if $limits.requireNetworkPolicy -}}
{{- include "reasonrl.limits.check" (dict "advice" $advice
  "check" "object.spec.?network.?policy.orValue('Restricted') != 'None'"
  "message" "'spec.network.policy: None is not allowed on this cluster; use Restricted, and list in network.egress what the pods must reach.'") -}}
{{- end -}}
{{- if not (kindIs "invalid" $limits.maxRolloutReplicas) -}}
{{- $most := int $limits.maxRolloutReplicas -}}
{{- include "reasonrl.limits.check" (dict "advice" $advice
  "check" (printf "variables.rollouts <= %d" $most)
  "message" (printf "'spec.rollout.replicas: ' + string(variables.rollouts) + ' is more than the %d rollout pods that this cluster allows a job.'" $most)) -}}
{{- end -}}
{{- if not (kindIs "invalid" $limits.maxGpusPerJob) -}}
{{- range $role := list "trainer" "rollout" -}}
{{- range $amounts := list "requests" "limits" -}}
{{- $written := printf "object.spec.?pods.?%s.?resources.?%s.orValue({})" $role $amounts -}}
{{- include "reasonrl.limits.check" (dict "advice" ""
  "check" (printf "%s.all(resource, !(resource in %s))" $written (toJson $limits.gpuResources))
  "message" (printf "'spec.pods.%s.resources.%s: GPUs are asked for by spec.%s.gpusPerReplica, where this cluster counts them; remove ' + %s.join(', ') + '.'" $role $amounts $role (toJson $limits.gpuResources))) -}}
{{- end -}}
{{- end -}}
{{- include "reasonrl.limits.check" (dict "advice" $advice
  "check" (printf "variables.gpus <= %d" (int $limits.maxGpusPerJob))
  "message" (printf "string(variables.gpus) + ' GPUs (trainers: ' + string(variables.trainers) + ' of ' + string(variables.trainerGpus) + ', rollouts: ' + string(variables.colocated ? 0 : variables.rollouts) + ' of ' + string(variables.rolloutGpus) + ') are more than the %d that this cluster allows a job; lower replicas or gpusPerReplica.'" (int $limits.maxGpusPerJob))) -}}
{{- end -}}
{{- end -}}

{{- define "reasonrl.limits.job.variables" -}}
{{- /* Phases in which rollout pods have a shape of their own. */ -}}
- name: shapedPhases
  expression: object.spec.phases.filter(phase, has(phase.rollout))
- name: blueprint
  expression: has(object.spec.runtimeRef)
- name: queueLabel
  expression: object.metadata.?labels[?'kueue.x-k8s.io/queue-name'].orValue('')
{{- end -}}

{{- define "reasonrl.limits.job" -}}
{{- $limits := .Values.admissionPolicy -}}
{{- $advice := $limits.advice -}}
{{- if $limits.requireQueue -}}
{{- include "reasonrl.limits.check" (dict "advice" $advice
  "check" "variables.queue != '' || variables.queueLabel != '' || (variables.blueprint && object.spec.runtimeRef.?kind.orValue('ClusterReasoningRLRuntime') == 'ClusterReasoningRLRuntime')"
  "message" "'spec.scheduling.queue: this cluster runs jobs from queues alone; name one, or a blueprint of the cluster that does.'") -}}
{{- end -}}
{{- with $limits.allowedQueues -}}
{{- include "reasonrl.limits.check" (dict "advice" $advice
  "check" (printf "variables.queueLabel == '' || variables.queueLabel in %s" (toJson .))
  "message" (printf "'label kueue.x-k8s.io/queue-name: ' + variables.queueLabel + ' is not among the queues of this cluster: ' + %s.join(', ') + '.'" (toJson .))) -}}
{{- end -}}
{{- $replicas := "phase.rollout.?replicas.orValue(variables.rollouts)" -}}
{{- $gpus := "phase.rollout.?gpusPerReplica.orValue(variables.rolloutGpus)" -}}
{{- if not (kindIs "invalid" $limits.maxRolloutReplicas) -}}
{{- $most := int $limits.maxRolloutReplicas -}}
{{- include "reasonrl.limits.check" (dict "advice" $advice
  "check" (printf "variables.shapedPhases.all(phase, %s <= %d)" $replicas $most)
  "message" (printf "'phase ' + variables.shapedPhases.filter(phase, %s > %d)[0].name + ': its rollout.replicas are more than the %d rollout pods that this cluster allows a job.'" $replicas $most $most)) -}}
{{- end -}}
{{- if not (kindIs "invalid" $limits.maxGpusPerJob) -}}
{{- range $role := list "trainer" "rollout" -}}
{{- include "reasonrl.limits.check" (dict "advice" ""
  "check" (printf "!variables.blueprint || !has(object.spec.%s) || has(object.spec.%s.replicas) == has(object.spec.%s.gpusPerReplica)" $role $role $role)
  "message" (printf "'spec.%s: write both replicas and gpusPerReplica, or neither: the other would come from the blueprint, and this cluster limits the GPUs of a job.'" $role)) -}}
{{- end -}}
{{- include "reasonrl.limits.check" (dict "advice" ""
  "check" "!variables.blueprint || (has(object.spec.rollout) && has(object.spec.rollout.gpusPerReplica)) || variables.shapedPhases.all(phase, has(phase.rollout.replicas) == has(phase.rollout.gpusPerReplica))"
  "message" "'spec.phases: a phase that changes rollout.replicas must say gpusPerReplica as well, or spec.rollout both: the rest would come from the blueprint, and this cluster limits the GPUs of a job.'") -}}
{{- $total := printf "variables.trainers * variables.trainerGpus + (variables.colocated ? 0 : %s * %s)" $replicas $gpus -}}
{{- include "reasonrl.limits.check" (dict "advice" $advice
  "check" (printf "variables.shapedPhases.all(phase, %s <= %d)" $total (int $limits.maxGpusPerJob))
  "message" (printf "'phase ' + variables.shapedPhases.filter(phase, %s > %d)[0].name + ': with its rollout pods the job has more than the %d GPUs that this cluster allows; lower its rollout.replicas or gpusPerReplica.'" $total (int $limits.maxGpusPerJob) (int $limits.maxGpusPerJob))) -}}
{{- end -}}
{{- end -}}

{{- define "reasonrl.limits.scale" -}}
{{- $limits := .Values.admissionPolicy -}}
{{- $most := $limits.maxRolloutReplicas -}}
{{- if not (kindIs "invalid" $most) -}}
{{- include "reasonrl.limits.check" (dict "advice" $limits.advice
  "check" (printf "object.spec.replicas <= %d" (int $most))
  "message" (printf "string(object.spec.replicas) + ' is more than the %d rollout pods that this cluster allows a job.'" (int $most))) -}}
{{- else -}}
{{- include "reasonrl.limits.check" (dict "advice" ""
  "check" "object.spec.replicas <= oldObject.spec.replicas"
  "message" "'this cluster limits the GPUs of a job and cannot count them here; edit spec.rollout.replicas of the job instead.'") -}}
{{- end -}}
{{- end -}}
