{{- /*
What the operator may do where jobs are, one rule for each kind, each with the reason. A test takes these from the rendered chart, runs the
operator with them against a real API server, and fails when a right is missing, or is there and never needed.
*/ -}}

{{- define "reasonrl.rules" -}}
# Follows jobs. Deletes those whose time to live is over.
- apiGroups: [reasonrl.dev]
  resources: [reasoningrljobs]
  verbs: [list, watch, delete]
# Writes their status. Their spec belongs to people and is never written.
- apiGroups: [reasonrl.dev]
  resources: [reasoningrljobs/status]
  verbs: [patch]
# Children keep their job until they are gone (blockOwnerDeletion). Where the admission plug-in OwnerReferencesPermissionEnforcement is on,
# as in OpenShift, that takes this right; the operator itself sets no finalizers.
- apiGroups: [reasonrl.dev]
  resources: [reasoningrljobs/finalizers]
  verbs: [update]
# Reads the blueprints that jobs name.
- apiGroups: [reasonrl.dev]
  resources: [reasoningrlruntimes]
  verbs: [get, list, watch]
# Makes trainers and rollout pods, follows them, deletes those to be replaced. Get: whose is it, when a name is taken.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, delete]
# Makes the headless Service of a job. It is not deleted: the garbage collector does that, as with all that follows.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create]
# Makes the resolved job that its pods read, and patches it for live edits.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch]
# Makes the Secret with the Ray token of a job. List and watch are of metadata alone, by label, to notice when one is gone, but RBAC cannot
# say so: whoever holds this token can read Secrets here. With watchNamespaces that is true of these namespaces only.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create]
# Makes the NetworkPolicy of a job.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create]
# Tells what happens to a job; counts repetitions in the event that is there.
- apiGroups: [""]
  resources: [events]
  verbs: [get, create, patch]
{{- $volcano := .Values.gangSchedulers.volcano }}
# Asks whether Volcano has PodGroups here{{ if $volcano }}, and makes those of jobs with gang: Volcano{{ else }}: without leave to ask, "there is no such kind" would look like a refusal{{ end }}.
- apiGroups: [scheduling.volcano.sh]
  resources: [podgroups]
  verbs: [{{ if $volcano }}get, list, watch, create{{ else }}list, watch{{ end }}]
{{- $coscheduling := .Values.gangSchedulers.coscheduling }}
# The same for the PodGroups of coscheduling{{ if $coscheduling }}, made for jobs with gang: Coscheduling{{ end }}.
- apiGroups: [scheduling.x-k8s.io]
  resources: [podgroups]
  verbs: [{{ if $coscheduling }}get, list, watch, create{{ else }}list, watch{{ end }}]
{{- end -}}

{{- define "reasonrl.clusterRuntimeRules" -}}
{{- if .Values.watchNamespaces -}}
# Reads a cluster-wide blueprint when a job names it.
- apiGroups: [reasonrl.dev]
  resources: [clusterreasoningrlruntimes]
  verbs: [get]
{{- else -}}
# Reads the cluster-wide blueprints that jobs name.
- apiGroups: [reasonrl.dev]
  resources: [clusterreasoningrlruntimes]
  verbs: [get, list, watch]
{{- end -}}
{{- end -}}
