{{/* What the pods of both programs have in common. Each takes (list . "agent"), or "server". */}}

{{- define "kiam.image" -}}
{{- $root := index . 0 -}}
{{- $image := (index $root.Values (index . 1)).image -}}
image: {{ printf "%s:%s" $image.repository (default $root.Chart.AppVersion $image.tag) | quote }}
imagePullPolicy: {{ $image.pullPolicy }}
{{- end -}}

{{- define "kiam.pullSecrets" -}}
{{- $secrets := .Values.imagePullSecrets -}}
{{- if kindIs "string" $secrets }}{{ $secrets = compact (list $secrets) }}{{ end -}}
{{- with $secrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "kiam.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $values := index $root.Values $component -}}
{{- $port := ternary (include "kiam.server.metricsPort" $root) ($root.Values.agent.prometheus.port | toString) (eq $component "server") -}}
{{- $scraped := dict -}}
{{- if $values.prometheus.scrape -}}
{{- $scheme := include "kiam.metrics.scheme" . -}}
{{- $scraped = dict "prometheus.io/scrape" "true" "prometheus.io/scheme" $scheme "prometheus.io/port" $port "prometheus.io/path" $values.prometheus.servicemonitor.path -}}
{{- end -}}
labels:
  {{- include "kiam.selector" . | nindent 2 }}
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) $values.podAnnotations $scraped }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Flags that both programs take. */}}
{{- define "kiam.commonArgs" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $values := index $root.Values $component -}}
{{- $files := include "kiam.tls.files" . | fromYaml -}}
{{- if $values.log.jsonOutput }}
- --json-log
{{- end }}
- --level={{ $values.log.level }}
- --cert=/etc/kiam/tls/{{ $files.cert }}
- --key=/etc/kiam/tls/{{ $files.key }}
- --ca=/etc/kiam/tls/{{ $files.ca }}
- --prometheus-sync-interval={{ $values.prometheus.syncInterval }}
{{- include "kiam.metrics.args" . }}
{{- with $values.keepaliveParams.time }}
- --grpc-keepalive-time-duration={{ . }}
{{- end }}
{{- with $values.keepaliveParams.timeout }}
- --grpc-keepalive-timeout-duration={{ . }}
{{- end }}
{{- end -}}

{{/* One that the chart has set already is refused by the program. */}}
{{- define "kiam.extraArgs" -}}
{{- range $flag, $value := . }}
{{- if or (kindIs "invalid" $value) (eq (toString $value) "") }}
- --{{ $flag }}
{{- else }}
- {{ printf "--%s=%v" $flag $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "kiam.probes" -}}
{{- $values := index (index . 0).Values (index . 1) -}}
livenessProbe:
  httpGet: { path: /live, port: metrics, scheme: {{ include "kiam.metrics.scheme" . | upper }} }
  {{- toYaml $values.livenessProbe | nindent 2 }}
readinessProbe:
  httpGet: { path: /ready, port: metrics, scheme: {{ include "kiam.metrics.scheme" . | upper }} }
  {{- toYaml $values.readinessProbe | nindent 2 }}
{{- end -}}

{{/* No right at all, and nothing to write to. */}}
{{- define "kiam.unprivileged" -}}
{{- $values := index (index . 0).Values (index . 1) -}}
runAsUser: 65532
runAsGroup: 65532
runAsNonRoot: true
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- with $values.seLinuxOptions }}
seLinuxOptions:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Root, but for what writing rules takes nothing more than anybody has. */}}
{{- define "kiam.netAdmin" -}}
{{- $values := .Values.agent -}}
runAsUser: 0
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
  # Legacy iptables opens a raw socket.
  add: [NET_ADMIN{{ if eq $values.interception.kind "iptables" }}, NET_RAW{{ end }}]
{{- with $values.seLinuxOptions }}
seLinuxOptions:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "kiam.extraVolumes" -}}
{{- range .extraHostPathMounts }}
- name: {{ .name }}
  hostPath:
    path: {{ .hostPath }}
{{- end }}
{{- with .extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "kiam.extraVolumeMounts" -}}
{{- range .extraHostPathMounts }}
- name: {{ .name }}
  mountPath: {{ .mountPath }}
  readOnly: {{ default false .readOnly }}
{{- end }}
{{- with .extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Where pods may be. New nodes stay as they are until an agent is there and a server has heard of it. */}}
{{- define "kiam.placement" -}}
{{- $values := index (index . 0).Values (index . 1) -}}
{{- $tolerations := $values.tolerations -}}
{{- with (index . 0).Values.server.startupTaint -}}
{{- $tolerations = append $tolerations (dict "key" . "operator" "Exists") -}}
{{- end -}}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
