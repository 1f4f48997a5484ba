/**
 * Services that an image starts when their package is among the chosen ones: what the packages' maintainer scripts
 * and systemd units would have set up, in the small form that a guest with our own init needs.
 */

/** A user of the guest with a group of the same name and number. */
export interface GuestUser {
  readonly name: string
  readonly id: number
  readonly home: string
}

export interface GuestDirectory {
  readonly path: string
  readonly owner: string
  readonly permissions: number
}

export interface Service {
  readonly name: string
  /** The package whose presence in the image brings the service. */
  readonly package: string
  readonly users: readonly GuestUser[]
  readonly directories: readonly GuestDirectory[]
  /** Configuration, by path. */
  readonly files: Readonly<Record<string, string>>
  /** The TCP port that says that the service is ready. */
  readonly port: number
  /** Shell commands that become the service (the last one with exec). */
  readonly start: string
}

/**
 * The dataset lives in an append-only file, synced once a second: RAM survives the loss of one host anyway, so this
 * is for losing both, at the price of at most a second of writes. No point-in-time dumps: each would fork the server,
 * and a fork costs a copy of its page tables.
 */
const REDIS_CONFIGURATION = `bind 0.0.0.0
port 6379
protected-mode no
dir /var/lib/redis
logfile /var/log/redis/redis-server.log
appendonly yes
appendfsync everysec
save ""
`

const NGINX_SITE = `server {
  listen 80;
  listen [::]:80;
  root /var/www/html;
}
`

export const SERVICES: readonly Service[] = [
  {
    name: 'redis-server',
    package: 'redis-server',
    users: [{ name: 'redis', id: 110, home: '/var/lib/redis' }],
    directories: [
      { path: '/var/lib/redis', owner: 'redis', permissions: 0o750 },
      { path: '/var/log/redis', owner: 'redis', permissions: 0o750 },
      { path: '/etc/redis', owner: 'redis', permissions: 0o755 },
    ],
    files: { '/etc/redis/redis.conf': REDIS_CONFIGURATION },
    port: 6379,
    start: `echo 1 >/proc/sys/vm/overcommit_memory
ulimit -n 10240
exec setpriv --reuid redis --regid redis --clear-groups /usr/bin/redis-server /etc/redis/redis.conf
`,
  },
  {
    name: 'nginx',
    package: 'nginx',
    users: [],
    directories: [{ path: '/var/log/nginx', owner: 'root', permissions: 0o755 }],
    files: {
      '/etc/nginx/conf.d/default.conf': NGINX_SITE,
      '/var/www/html/index.html': '<!doctype html><title>nginx</title><p>This is nginx in the guest.</p>\n',
    },
    port: 80,
    start: `exec /usr/sbin/nginx -g 'daemon off;'
`,
  },
]

/** The services that a list of installed packages brings. */
export function servicesOf(packageNames: readonly string[]): Service[] {
  return SERVICES.filter((service) => packageNames.includes(service.package))
}
