{{- define "portcullis.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels by which Services, policies and the Deployment find pods: (list $ "gateway") */}}
{{- define "portcullis.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: {{ $.Chart.Name }}
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "portcullis.labels" -}}
{{- $ := index . 0 -}}
{{ include "portcullis.selector" . }}
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $.Chart.Name $.Chart.Version | replace "+" "_" }}
{{- with $.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Without versions, so that a new version of the chart alone replaces no pod. */}}
{{- define "portcullis.podLabels" -}}
{{- $ := index . 0 -}}
{{ include "portcullis.selector" . }}
{{- with mergeOverwrite (deepCopy $.Values.commonLabels) $.Values.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "portcullis.image" -}}
{{- $repository := .Values.image.repository | required "image.repository is missing: name the image that you built from deploy/Dockerfile, such as registry.example.com/portcullis" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* Gateways that may share one Redis. */}}
{{- define "portcullis.replicas" -}}
{{- if .Values.autoscaling.enabled }}{{ .Values.autoscaling.maxReplicas }}{{ else }}{{ .Values.replicaCount }}{{ end -}}
{{- end -}}

{{/* The configuration with what the chart knows, as YAML. */}}
{{- define "portcullis.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $_ := set $config "server" (merge (dict "replicas" (include "portcullis.replicas" . | int)) ($config.server | default dict)) -}}
{{- $_ := set $config "database" (merge (dict "dataDir" "/portcullis/data") ($config.database | default dict)) -}}
{{- toYaml $config -}}
{{- end -}}

{{/* What becomes of a change: a sum over the settings that need a restart. Without reload.watch that is all of them. */}}
{{- define "portcullis.restartSum" -}}
{{- $config := include "portcullis.config" . | fromYaml -}}
{{- if dig "reload" "watch" false $config -}}
{{- $settings := dict "server.tls" (hasKey $config.server "tls") -}}
{{- range .Files.Lines "files/needs-restart.txt" -}}
{{- $value := $config -}}
{{- range splitList "." . -}}
{{- $value = ternary (index ($value | default dict) .) nil (and (kindIs "map" $value) (hasKey ($value | default dict) .)) -}}
{{- end -}}
{{- if not (kindIs "invalid" $value) }}{{ $_ := set $settings . $value }}{{ end -}}
{{- end -}}
{{- toJson $settings | sha256sum -}}
{{- else -}}
{{- toJson (list $config .Values.configFiles) | sha256sum -}}
{{- end -}}
{{- end -}}

{{/* Seconds from the end of a pod's service to the end of its process. */}}
{{- define "portcullis.graceSeconds" -}}
{{- $server := .Values.config.server | default dict -}}
{{- $ms := add (dig "shutdownDelayMs" 0 $server | int) (dig "shutdownTimeoutMs" 25000 $server | int) -}}
{{- $needed := add (div (add $ms 999) 1000) (.Values.preStopSleepSeconds | int) 10 -}}
{{- $given := .Values.terminationGracePeriodSeconds -}}
{{- if and (not (kindIs "invalid" $given)) (lt ($given | int) ($needed | int)) -}}
{{- fail (printf "terminationGracePeriodSeconds is %v: the gateway would be killed in the middle of its stop. It needs %d (preStopSleepSeconds + server.shutdownDelayMs + server.shutdownTimeoutMs + 10 seconds); leave it out" $given $needed) -}}
{{- end -}}
{{- kindIs "invalid" $given | ternary $needed $given -}}
{{- end -}}

{{/* A variable from a Secret, or nothing: (list $ "databaseUrl" "DATABASE_URL") */}}
{{- define "portcullis.secretVariable" -}}
{{- $ := index . 0 -}}
{{- $reference := index $.Values.secrets (index . 1) -}}
{{- if $reference.key }}
- name: {{ index . 2 }}
  valueFrom:
    secretKeyRef:
      name: {{ $reference.name | default $.Values.secrets.name | required (printf "secrets.name is missing: it names the Secret with the key %s for %s. Make it with kubectl create secret generic, or set secrets.%s.name to another Secret" $reference.key (index . 2) (index . 1)) }}
      key: {{ $reference.key }}
{{- end }}
{{- end -}}

{{- define "portcullis.env" -}}
{{- include "portcullis.secretVariable" (list . "secretKey" "PORTCULLIS_SECRET_KEY") }}
{{- include "portcullis.secretVariable" (list . "previousSecretKey" "PORTCULLIS_SECRET_KEY_PREVIOUS") }}
{{- include "portcullis.secretVariable" (list . "databaseUrl" "DATABASE_URL") }}
{{- include "portcullis.secretVariable" (list . "databaseReadUrl" "PORTCULLIS_DATABASE__READ_URL") }}
{{- include "portcullis.secretVariable" (list . "redisUrl" "REDIS_URL") }}
{{- include "portcullis.secretVariable" (list . "mailUrl" "PORTCULLIS_MAIL__URL") }}
{{- include "portcullis.secretVariable" (list . "adminEmail" "PORTCULLIS_ADMIN_EMAIL") }}
{{- include "portcullis.secretVariable" (list . "adminPassword" "PORTCULLIS_ADMIN_PASSWORD") }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "portcullis.scheme" -}}
{{- if dig "server" "tls" nil .Values.config }}https{{ else }}http{{ end -}}
{{- end -}}
