/** A pair's status for people. */
import { type PairStatus, reasonText } from '../node/host/pair_control.ts'

/** Lines of names and values. */
export function table(status: PairStatus): string {
  const { name, protection, epoch, primary, backup, position, lagMs, forwards } = status
  const place = (copy: PairStatus['primary']): string => (copy ? `${copy.host} (pid ${copy.pid})` : 'none')
  const reason = reasonText(status)
  const refusals = status.hosts.flatMap(({ host, refusals }) =>
    Object.entries(refusals).map(([other, why]): [string, string] => [
      `host ${host}`,
      `no channel with ${other}: ${why}`,
    ]),
  )
  const delay = status.outputDelayMs
  const rows: [string, string | undefined][] = [
    ['machine', name],
    ['protection', reason === null ? protection : `${protection}: ${reason}`],
    ['epoch', epoch === null ? undefined : `${epoch}`],
    ['primary', place(primary)],
    ['backup', place(backup)],
    ['position', position ?? undefined],
    ['lag', lagMs === null ? undefined : `${Math.round(lagMs)} ms`],
    ['log', status.logBytesPerSecond === null ? undefined : `${status.logBytesPerSecond} bytes/s`],
    ['output delay', delay === null ? undefined : `p50 ${delay.p50} ms, p99 ${delay.p99} ms`],
    ['ports', forwards.length === 0 ? undefined : forwards.join(' ')],
    ...refusals,
  ]
  const shown = rows.filter(([, value]) => value !== undefined)
  return shown.map(([label, value]) => `${label.padEnd(14)}${value}\n`).join('')
}
