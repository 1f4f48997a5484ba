/** A host's process as a source of metrics. */
import { readFileSync } from 'node:fs'
import { type ControlledHost, hostStatus } from './control_methods.ts'
import { type HostNumbers, metricsText } from './metrics.ts'
import type { MetricsSource } from './metrics_server.ts'
import { softwareBuild } from './software_build.ts'

export function hostMetrics(host: ControlledHost): MetricsSource {
  const version = programVersion()
  return {
    metrics: () => metricsText(hostStatus(host), numbers(host, version)),
    health: () => {
      const { protection, reason } = hostStatus(host)
      return {
        isProtected: protection === 'protected',
        text: reason === null ? protection : `${protection}: ${reason}`,
      }
    },
  }
}

function numbers({ process: machine }: ControlledHost, version: string): HostNumbers {
  const { user, system } = process.cpuUsage()
  const { outputs, delaySumMs } = machine.measurements.released
  return {
    ...{ version, build: softwareBuild(), releasedOutputs: outputs, outputDelaySumMs: delaySumMs },
    ...{ cpuSeconds: (user + system) / 1e6, residentBytes: process.memoryUsage.rss() },
    startSeconds: Math.round(Date.now() - process.uptime() * 1000) / 1000,
  }
}

function programVersion(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
