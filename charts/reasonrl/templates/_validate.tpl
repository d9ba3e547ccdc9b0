{{- /*
Values that are right one by one and contradict each other: the schema cannot see them, and an install with them would fail later or, worse,
seem to work. Every contradiction is reported at once.
*/ -}}

{{- define "reasonrl.validate" -}}
{{- $problems := list -}}
{{- $budget := .Values.podDisruptionBudget -}}
{{- $limits := .Values.admissionPolicy -}}
{{- $name := include "reasonrl.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) -}}
{{- $problems = append $problems (printf "the release is called %s, which cannot be the name of a Service (letters, digits and dashes, a letter first): set fullnameOverride" $name) -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.service.enabled) -}}
{{- $problems = append $problems "metrics.serviceMonitor.enabled needs the Service that it selects: set metrics.service.enabled, or switch the monitor off" -}}
{{- end -}}
{{- if and $budget.enabled (or (eq (toString $budget.maxUnavailable) "0") (eq (toString $budget.maxUnavailable) "0%")) -}}
{{- $problems = append $problems "podDisruptionBudget.maxUnavailable: 0 keeps every node with an operator pod from being drained: allow 1" -}}
{{- end -}}
{{- if lt (int .Values.operator.inFlight) (int .Values.operator.workers) -}}
{{- $problems = append $problems (printf "operator.inFlight: %d calls in flight are fewer than operator.workers: %d, which would wait for each other; raise the one or lower the other" (int .Values.operator.inFlight) (int .Values.operator.workers)) -}}
{{- end -}}
{{- if and (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) -}}
{{- $problems = append $problems "serviceAccount.create is off and serviceAccount.name empty: the operator's rights would go to the namespace's default account; name an account" -}}
{{- end -}}
{{- if and .Values.rbac.clusterRuntimes (not .Values.watchNamespaces) -}}
{{- $problems = append $problems "rbac.clusterRuntimes is for watchNamespaces: an install for the whole cluster reads cluster-wide blueprints anyway; remove it" -}}
{{- end -}}
{{- if and .Values.userRoles.aggregate (not .Values.userRoles.create) -}}
{{- $problems = append $problems "userRoles.aggregate adds roles to view, edit and admin which userRoles.create: false does not make; switch both on or both off" -}}
{{- end -}}
{{- if $limits.enabled -}}
{{- $some := or $limits.allowedImagePrefixes $limits.requireQueue $limits.allowedQueues $limits.allowedPriorityClasses $limits.requireNetworkPolicy -}}
{{- if not (or $some (not (kindIs "invalid" $limits.maxGpusPerJob)) (not (kindIs "invalid" $limits.maxRolloutReplicas))) -}}
{{- $problems = append $problems "admissionPolicy.enabled without a limit refuses nothing: set one of maxGpusPerJob, maxRolloutReplicas, allowedImagePrefixes, requireQueue, allowedQueues, allowedPriorityClasses, requireNetworkPolicy" -}}
{{- end -}}
{{- if and (has "Deny" $limits.validationActions) (has "Warn" $limits.validationActions) -}}
{{- $problems = append $problems "admissionPolicy.validationActions: Deny and Warn exclude each other, as the refusal is the warning; choose one" -}}
{{- end -}}
{{- if and $limits.namespaceSelector .Values.watchNamespaces -}}
{{- $problems = append $problems "admissionPolicy.namespaceSelector and watchNamespaces both say where the limits hold: remove one" -}}
{{- end -}}
{{- end -}}
{{- range $field := list "commonLabels" "podLabels" -}}
{{- range $key, $_ := index $.Values $field -}}
{{- if has $key (list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component") -}}
{{- $problems = append $problems (printf "%s: %s is how the Deployment finds its pods; choose another label" $field $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $problems -}}
{{- fail (printf "\n\nThe values contradict each other:\n  - %s\n" (join "\n  - " $problems)) -}}
{{- end -}}
{{- end -}}
