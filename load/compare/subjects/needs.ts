/** Commands, and how to install them on Debian. */
import type { Need } from './subject.ts'

export const WRK: Need = { command: 'wrk', install: 'apt-get install wrk' }
export const TASKSET: Need = { command: 'taskset', install: 'apt-get install util-linux' }
export const REDIS: Need = { command: 'redis-server', install: 'apt-get install redis-server' }
export const NGINX: Need = { command: 'nginx', install: 'apt-get install nginx-light' }
export const HAPROXY: Need = { command: 'haproxy', install: 'apt-get install haproxy' }
