{{- /* On every object of ours. */}}
{{- define "heapship.labels" -}}
app.kubernetes.io/name: heapship
app.kubernetes.io/component: webhook
{{- end }}

{{- /* Objects of a hook: another component, so that no selector of the webhook's finds its pods. */}}
{{- define "heapship.hookLabels" -}}
app.kubernetes.io/name: heapship
app.kubernetes.io/component: {{ . }}
{{- end }}

{{- define "heapship.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- /* The policy file. A policy that names no image gets the webhook's: one place decides what runs, mirror and digest included. */}}
{{- define "heapship.policies" -}}
{{- $image := include "heapship.image" . -}}
{{- range $index, $policy := .Values.policies }}
{{- if $index }}
---
{{ end }}
{{- $defaults := dict "apiVersion" "heapship.io/v1alpha1" "kind" "HeapDumpPolicy" "spec" (dict "agent" (dict "image" $image)) -}}
{{- mergeOverwrite $defaults (deepCopy $policy) | toYaml }}
{{- end }}
{{- end }}

{{- /* The restricted Pod Security level, for every container of ours. */}}
{{- define "heapship.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
{{- end }}

{{- define "heapship.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}
