{{/* What resources are called, and their labels. The selectors are those of Kiam's chart: they can never be changed, and
     so a release of Kiam's chart can be upgraded to this one. */}}

{{- define "kiam.name" -}}
{{- default "kiam" .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "kiam.fullname" -}}
{{- $name := include "kiam.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "kiam.agent" -}}{{ include "kiam.fullname" . }}-agent{{- end -}}
{{- define "kiam.server" -}}{{ include "kiam.fullname" . }}-server{{- end -}}
{{- define "kiam.scraper" -}}{{ include "kiam.fullname" . }}-scraper{{- end -}}

{{- define "kiam.labels" -}}
app.kubernetes.io/name: {{ include "kiam.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Of one component: (list . "agent") */}}
{{- define "kiam.selector" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
app: {{ include "kiam.name" $root }}
component: {{ (index $root.Values $component).name | quote }}
release: {{ $root.Release.Name }}
{{- end -}}

{{- define "kiam.serviceAccount" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $account := index $root.Values.serviceAccounts $component -}}
{{- if $account.create -}}
{{- default (printf "%s-%s" (include "kiam.fullname" $root) $component) $account.name -}}
{{- else -}}
{{- required (printf "serviceAccounts.%s.name: expected the account that is there already, as serviceAccounts.%s.create is false" $component $component) $account.name -}}
{{- end -}}
{{- end -}}

{{/* Where the server's metrics are. On the host's network the agent has 9620. */}}
{{- define "kiam.server.metricsPort" -}}
{{- default (ternary 9621 9620 .Values.server.useHostNetwork) .Values.server.prometheus.port -}}
{{- end -}}

{{- define "kiam.server.port" -}}
{{- $service := .Values.server.service -}}
{{- if and $service.targetPort (ne (int $service.targetPort) (int $service.port)) -}}
{{- fail "server.service.targetPort: expected the same as server.service.port: agents connect to the servers' own addresses, so no service can change the port" -}}
{{- end -}}
{{- if and (lt (int $service.port) 1024) .Values.server.useHostNetwork -}}
{{- fail "server.service.port: expected 1024 or more with server.useHostNetwork, as the server is not root" -}}
{{- end -}}
{{- int $service.port -}}
{{- end -}}
