{{/* What a schema cannot say. Each message names the value and what would be right. */}}
{{- define "portcullis.check" -}}
{{- include "portcullis.checkSecrets" . -}}
{{- include "portcullis.checkConfig" . -}}
{{- include "portcullis.checkEnv" . -}}
{{- include "portcullis.checkTls" . -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is larger than autoscaling.maxReplicas" -}}
{{- end -}}
{{- end -}}

{{- define "portcullis.checkTls" -}}
{{- $tls := dig "server" "tls" dict .Values.config -}}
{{- if and $tls (eq (int .Values.service.port) 80) -}}
{{- fail "service.port is 80, and the gateway serves https (config.server.tls): set service.port to 443. Port 80 then belongs to server.tls.redirectPort" -}}
{{- end -}}
{{- if and (hasKey $tls "acme") .Values.networkPolicy.enabled (not .Values.networkPolicy.egress.extra) -}}
{{- fail "config.server.tls.acme needs a way to the ACME server: allow it in networkPolicy.egress.extra, for example [{ ports: [{ port: 443, protocol: TCP }] }]" -}}
{{- end -}}
{{- end -}}

{{- define "portcullis.checkSecrets" -}}
{{- range $name, $variable := dict "secretKey" "PORTCULLIS_SECRET_KEY" "databaseUrl" "DATABASE_URL" -}}
{{- if not (index $.Values.secrets $name).key -}}
{{- fail (printf "secrets.%s.key is missing: the gateway does not start without %s" $name $variable) -}}
{{- end -}}
{{- end -}}
{{- if and (not .Values.secrets.redisUrl.key) (not (dig "redis" "url" "" .Values.config)) -}}
{{- fail "secrets.redisUrl.key is missing: name the key of the Secret with the address of Redis. For a Redis without a password set config.redis.url" -}}
{{- end -}}
{{- $email := .Values.secrets.adminEmail.key -}}
{{- if ne (empty $email) (empty .Values.secrets.adminPassword.key) -}}
{{- fail "secrets.adminEmail.key and secrets.adminPassword.key go together: set both or neither" -}}
{{- end -}}
{{- end -}}

{{- define "portcullis.checkConfig" -}}
{{- $config := .Values.config -}}
{{- if not (dig "server" "publicUrl" "" $config) -}}
{{- fail "config.server.publicUrl is missing: set the address that clients use, such as https://api.example.com" -}}
{{- end -}}
{{- if hasKey ($config.server | default dict) "replicas" -}}
{{- fail "config.server.replicas is set by the chart: set replicaCount, or autoscaling.maxReplicas" -}}
{{- end -}}
{{- if hasKey ($config.database | default dict) "dataDir" -}}
{{- fail "config.database.dataDir is set by the chart: set dataVolume" -}}
{{- end -}}
{{- range $section := list "server" "admin" -}}
{{- if eq (dig $section "port" 1 $config | int) 0 -}}
{{- fail (printf "config.%s.port is 0: Services and probes need a fixed port" $section) -}}
{{- end -}}
{{- end -}}
{{- $adminHost := dig "admin" "host" "127.0.0.1" $config -}}
{{- if or (eq $adminHost "localhost") (eq $adminHost "::1") (hasPrefix "127." $adminHost) -}}
{{- fail (printf "config.admin.host is %s: the kubelet and Prometheus cannot reach it there. Set it to 0.0.0.0, or to :: with IPv6; networkPolicy.admin says who else may" $adminHost) -}}
{{- end -}}
{{- range $path, $reference := dict "database.url" "databaseUrl" "database.readUrl" "databaseReadUrl" -}}
{{- $keys := splitList "." $path -}}
{{- if dig (index $keys 0) (index $keys 1) "" $config -}}
{{- fail (printf "config.%s would put a password in a ConfigMap: put the address in a Secret, and name it in secrets.%s" $path $reference) -}}
{{- end -}}
{{- end -}}
{{- range $section, $reference := dict "redis" "redisUrl" "mail" "mailUrl" -}}
{{- $url := dig $section "url" "" $config -}}
{{- if or (contains "@" $url) (contains "password=" $url) -}}
{{- fail (printf "config.%s.url would put a password in a ConfigMap: put the address in a Secret, and name it in secrets.%s" $section $reference) -}}
{{- end -}}
{{- if and $url (index $.Values.secrets $reference).key -}}
{{- fail (printf "config.%s.url and secrets.%s are both set: leave one of them out (secrets.%s.key: \"\")" $section $reference $reference) -}}
{{- end -}}
{{- end -}}
{{- if hasKey .Values.configFiles "portcullis.yaml" -}}
{{- fail "configFiles cannot hold portcullis.yaml: it is made from config" -}}
{{- end -}}
{{- end -}}

{{- define "portcullis.checkEnv" -}}
{{- $names := list -}}
{{- range .Values.extraEnv -}}
{{- $names = append $names (trimSuffix "_FILE" .name) -}}
{{- if regexMatch "^(PORT|PORTCULLIS_(SERVER|ADMIN|RELOAD)__.*)$" .name -}}
{{- fail (printf "extraEnv: %s belongs in config, so that ports, probes and the end of a pod follow" .name) -}}
{{- end -}}
{{- if and (regexMatch "^((DATABASE|REDIS)_URL|PORTCULLIS_(SECRET_KEY|ADMIN_|(DATABASE|REDIS|MAIL)__).*|.*(SECRET|PASSWORD|TOKEN).*)$" .name) (not (hasSuffix "_FILE" .name)) (not (hasKey . "valueFrom")) -}}
{{- fail (printf "extraEnv: %s may be a secret: give it by valueFrom.secretKeyRef" .name) -}}
{{- end -}}
{{- end -}}
{{- range dig "auth" "providers" list .Values.config -}}
{{- if and .clientSecretEnv (not (has .clientSecretEnv $names)) (not $.Values.extraEnvFrom) -}}
{{- fail (printf "the provider %s needs the variable %s: add it to extraEnv, with valueFrom.secretKeyRef" .id .clientSecretEnv) -}}
{{- end -}}
{{- end -}}
{{- end -}}
