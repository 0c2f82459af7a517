{{/* Where both programs' metrics are and who may read them. Each takes (list . "agent"), or "server". */}}

{{- define "kiam.metrics.scheme" -}}
{{- $metrics := (index (index . 0).Values (index . 1)).prometheus -}}
{{- if and $metrics.tls.clientCertificates (not $metrics.tls.secret) -}}
{{- fail (printf "%s.prometheus.tls.secret: expected a secret, as %s.prometheus.tls.clientCertificates is true" (index . 1) (index . 1)) -}}
{{- end -}}
{{- ternary "https" "http" (not (empty $metrics.tls.secret)) -}}
{{- end -}}

{{- define "kiam.metrics.args" -}}
{{- $root := index . 0 -}}
{{- $metrics := (index $root.Values (index . 1)).prometheus }}
- --metrics-path={{ $metrics.servicemonitor.path }}
- --metrics-auth={{ $root.Values.monitoring.auth }}
{{- if $metrics.tls.secret }}
- --metrics-tls-cert=/etc/kiam/metrics-tls/tls.crt
- --metrics-tls-key=/etc/kiam/metrics-tls/tls.key
{{- if $metrics.tls.clientCertificates }}
- --metrics-client-ca=/etc/kiam/metrics-tls/ca.crt
{{- end }}
{{- end }}
{{- end -}}

{{- define "kiam.metrics.mount" -}}
{{- if (index (index . 0).Values (index . 1)).prometheus.tls.secret }}
- { name: metrics-tls, mountPath: /etc/kiam/metrics-tls, readOnly: true }
{{- end }}
{{- end -}}

{{- define "kiam.metrics.volume" -}}
{{- with (index (index . 0).Values (index . 1)).prometheus.tls.secret }}
- name: metrics-tls
  secret:
    secretName: {{ . }}
    # For the group of the pod's fsGroup.
    defaultMode: 0440
{{- end }}
{{- end -}}

{{/* How a monitor reads them. */}}
{{- define "kiam.metrics.endpoint" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $metrics := (index $root.Values $component).prometheus -}}
- port: metrics
  path: {{ $metrics.servicemonitor.path }}
  interval: {{ $metrics.servicemonitor.interval }}
  scheme: {{ include "kiam.metrics.scheme" . }}
  {{- if $metrics.tls.secret }}
  {{- if not $metrics.servicemonitor.tlsConfig }}
  {{- fail (printf "%s.prometheus.servicemonitor.tlsConfig: expected how Prometheus knows the certificate, such as {serverName, ca}, as %s.prometheus.tls.secret is there" $component $component) }}
  {{- end }}
  tlsConfig:
    {{- toYaml $metrics.servicemonitor.tlsConfig | nindent 4 }}
  {{- end }}
  {{- if eq $root.Values.monitoring.auth "kubernetes" }}
  authorization:
    credentials: { name: {{ include "kiam.scraper" $root }}, key: token }
  {{- end }}
{{- end -}}
