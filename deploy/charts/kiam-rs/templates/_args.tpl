{{/* The command lines of both programs, and of the agent's init container. */}}

{{- define "kiam.server.args" -}}
{{- $server := .Values.server -}}
- --bind=:{{ include "kiam.server.port" . }}
- --prometheus-listen-addr=:{{ include "kiam.server.metricsPort" . }}
{{- include "kiam.commonArgs" (list . "server") }}
{{- if $server.roleBaseArn }}
- --role-base-arn={{ $server.roleBaseArn }}
{{- else }}
- --role-base-arn-autodetect
{{- end }}
- --peers={{ include "kiam.server" . }}:{{ include "kiam.server.port" . }}
- --node-binding={{ $server.nodeBinding }}
{{- with $server.startupTaint }}
{{- if eq $server.nodeBinding "off" }}
{{- fail "server.startupTaint: expected with server.nodeBinding token or peer-ip: with off, every agent's certificate could free every node of its taint" }}
{{- end }}
- --startup-taint={{ . }}
{{- end }}
- --sync={{ $server.cache.syncInterval }}
{{- range $flag, $value := dict
    "assume-role-arn" $server.assumeRoleArn
    "region" $server.region
    "session-duration" $server.sessionDuration
    "session-refresh" $server.sessionRefresh
    "grpc-max-connection-idle-duration" $server.keepaliveParams.maxConnectionIdle
    "grpc-max-connection-age-duration" $server.keepaliveParams.maxConnectionAge
    "grpc-max-connection-age-grace-duration" $server.keepaliveParams.maxConnectionAgeGrace }}
{{- with $value }}
- --{{ $flag }}={{ . }}
{{- end }}
{{- end }}
{{- include "kiam.extraArgs" $server.extraArgs }}
{{- end -}}

{{/* init, agent or none; Kiam had agent.host.iptables for it. */}}
{{- define "kiam.interception" -}}
{{- $agent := .Values.agent -}}
{{- $by := ternary "agent" $agent.interception.by $agent.host.iptables -}}
{{- if and $agent.host.iptablesRemoveOnShutdown (ne $by "agent") -}}
{{- fail "agent.host.iptablesRemoveOnShutdown: expected with agent.interception.by=agent, as nobody else sees the agent end" -}}
{{- end -}}
{{- $by -}}
{{- end -}}

{{- define "kiam.rules" -}}
{{- $agent := .Values.agent -}}
- --intercept={{ $agent.interception.kind }}
- --port={{ $agent.host.port }}
- {{ default "$(HOST_IP)" $agent.host.ip | printf "--host=%s" | quote }}
- {{ required "agent.host.interface: expected the interfaces that pods are behind: eni+,vlan+ (Amazon VPC CNI), cali+ (Calico), lxc+ (Cilium), cni0 (flannel, k3s), veth+ (kindnet) or !eth0 (all but that one)" $agent.host.interface | printf "--host-interface=%s" | quote }}
{{- if not $agent.interception.containerCredentials }}
- --no-intercept-container-credentials
{{- end }}
{{- end -}}

{{- define "kiam.agent.args" -}}
{{- $agent := .Values.agent -}}
{{- $by := include "kiam.interception" . -}}
- --server-address={{ default (printf "%s:%s" (include "kiam.server" .) (include "kiam.server.port" .)) $agent.serverAddress }}
- --node-name=$(NODE_NAME)
- --prometheus-listen-addr=:{{ $agent.prometheus.port }}
{{- include "kiam.commonArgs" (list . "agent") }}
- --gateway-timeout-creation={{ $agent.gatewayTimeoutCreation }}
{{- if eq $by "agent" }}
{{ include "kiam.rules" . }}
{{- if $agent.host.iptablesRemoveOnShutdown }}
- --iptables-remove
{{- end }}
{{- else }}
- --port={{ $agent.host.port }}
- {{ ternary "::" (default "$(HOST_IP)" $agent.host.ip) $agent.host.dualStack | printf "--bind=%s" | quote }}
{{- end }}
{{- if eq .Values.server.nodeBinding "token" }}
- --server-token-file=/var/run/secrets/kiam/token
{{- end }}
{{- with default $agent.whiteListRouteRegexp $agent.allowRouteRegexp }}
- {{ printf "--allow-route-regexp=%s" . | quote }}
{{- end }}
{{- with $agent.allowRoutes }}
- --allow-routes={{ join "," . }}
{{- end }}
- --imds-tokens={{ $agent.imdsTokens }}
{{- if $agent.keepaliveParams.permitWithoutStream }}
- --grpc-keepalive-permit-without-stream
{{- end }}
{{- include "kiam.extraArgs" $agent.extraArgs }}
{{- end -}}
