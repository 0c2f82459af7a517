{{/* Certificates: where they come from, in which secrets they are, and what they are called there. */}}

{{/* secrets (there already), files (of the values), generated, or cert-manager */}}
{{- define "kiam.tls.source" -}}
{{- $agent := .Values.agent -}}
{{- $server := .Values.server -}}
{{- if or $agent.tlsSecret $server.tlsSecret -}}
{{- if or (and $agent.enabled (not $agent.tlsSecret)) (and $server.enabled (not $server.tlsSecret)) -}}
{{- fail "agent.tlsSecret and server.tlsSecret: expected both, as each must trust who signed the other" -}}
{{- end -}}
secrets
{{- else if or $agent.tlsFiles.cert $server.tlsFiles.cert -}}
{{- range $component := list "agent" "server" -}}
{{- $values := index $.Values $component -}}
{{- if and $values.enabled (not (and $values.tlsFiles.ca $values.tlsFiles.cert $values.tlsFiles.key)) -}}
{{- fail (printf "%s.tlsFiles: expected ca, cert and key, as the other program has files, too" $component) -}}
{{- end -}}
{{- end -}}
files
{{- else -}}
{{- .Values.tls.source -}}
{{- end -}}
{{- end -}}

{{- define "kiam.tls.secret" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $own := printf "%s-%s" (include "kiam.fullname" $root) $component -}}
{{- $source := include "kiam.tls.source" $root -}}
{{- if eq $source "secrets" -}}
{{- (index $root.Values $component).tlsSecret -}}
{{- else if eq $source "cert-manager" -}}
{{- $own }}-tls
{{- else -}}
{{- $own -}}
{{- end -}}
{{- end -}}

{{- define "kiam.tls.files" -}}
{{- $root := index . 0 -}}
{{- $names := (index $root.Values (index . 1)).tlsCerts -}}
{{- if eq (include "kiam.tls.source" $root) "cert-manager" -}}
{{- $names = dict "certFileName" "tls.crt" "keyFileName" "tls.key" "caFileName" "ca.crt" -}}
{{- end -}}
{{- dict "cert" $names.certFileName "key" $names.keyFileName "ca" $names.caFileName | toYaml -}}
{{- end -}}

{{- define "kiam.tls.volume" -}}
- name: tls
  secret:
    secretName: {{ include "kiam.tls.secret" . }}
    # For the group of the pod's fsGroup.
    defaultMode: 0440
{{- end -}}

{{/* What agents may call the server. */}}
{{- define "kiam.tls.serverNames" -}}
{{- $server := include "kiam.server" . -}}
{{- list $server (printf "%s.%s" $server .Release.Namespace) (printf "%s.%s.svc" $server .Release.Namespace) (printf "%s.%s.svc.cluster.local" $server .Release.Namespace) "localhost" | toYaml -}}
{{- end -}}
