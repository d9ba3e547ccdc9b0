{{- /* Names and labels that several templates share. */ -}}

{{- define "reasonrl.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "reasonrl.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "reasonrl.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "reasonrl.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "reasonrl.fullname" .) -}}
{{- end -}}

{{- define "reasonrl.leaseName" -}}
{{- .Values.operator.leaseName | default (include "reasonrl.fullname" .) -}}
{{- end -}}

{{- define "reasonrl.selectorLabels" -}}
app.kubernetes.io/name: {{ include "reasonrl.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "reasonrl.labels" -}}
{{- $own := include "reasonrl.selectorLabels" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/version" .Chart.AppVersion -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "reasonrl" -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") -}}
{{- toYaml (mergeOverwrite $own .Values.commonLabels) -}}
{{- end -}}

{{- /* Without the chart's version: an upgrade that changes nothing of the pods leaves them running. */ -}}
{{- define "reasonrl.podLabels" -}}
{{- toYaml (mergeOverwrite (include "reasonrl.selectorLabels" . | fromYaml) .Values.commonLabels .Values.podLabels) -}}
{{- end -}}

{{- define "reasonrl.image" -}}
{{- $repository := .Values.image.repository -}}
{{- if .Values.image.registry -}}
{{- $repository = printf "%s/%s" .Values.image.registry .Values.image.repository -}}
{{- end -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
