{{/* What every pod of the chart has in common. */}}
{{- define "portcullis.podSettings" -}}
{{- with .Values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
automountServiceAccountToken: false
# a Service named portcullis-… would add variables that look like settings of the gateway
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  {{- with .Values.securityContext.runAsUser }}
  runAsUser: {{ int64 . }}
  {{- end }}
  {{- with .Values.securityContext.runAsGroup }}
  runAsGroup: {{ int64 . }}
  {{- end }}
  {{- with .Values.securityContext.fsGroup }}
  fsGroup: {{ int64 . }}
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  seccompProfile: { type: RuntimeDefault }
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* What every container of the chart has in common. */}}
{{- define "portcullis.containerSettings" -}}
image: {{ include "portcullis.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end -}}

{{/* The settings of a container that reads the configuration. */}}
{{- define "portcullis.configured" -}}
# relative file names of the configuration, and commands without --config, begin here
workingDir: /etc/portcullis
env:
  {{- include "portcullis.env" . | trim | nindent 2 }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  # a folder, not a subPath: files of a subPath never change
  - { name: config, mountPath: /etc/portcullis, readOnly: true }
  - { name: data, mountPath: /portcullis/data }
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* (list $ "name of the ConfigMap") */}}
{{- define "portcullis.volumes" -}}
{{- $ := index . 0 -}}
- name: config
  configMap: { name: {{ index . 1 }} }
- name: data
  {{- toYaml $.Values.dataVolume | nindent 2 }}
{{- with $.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "portcullis.configData" -}}
data:
  portcullis.yaml: |
    {{- include "portcullis.config" . | nindent 4 }}
  {{- range $name, $text := .Values.configFiles }}
  {{ $name }}: |
    {{- $text | nindent 4 }}
  {{- end }}
{{- end -}}
