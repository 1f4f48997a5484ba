import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { HostStatus } from './control_methods.ts'
import { type HostNumbers, metricsText } from './metrics.ts'

const STATUS: HostStatus = {
  ...{ machine: 'db', host: 'a', pid: 7, role: 'primary', protection: 'not protected' },
  ...{ reason: 'backup joining', epoch: 4, life: 1, position: '18446744073709551615', lagMs: 12.5 },
  ...{ logBytes: 1000, logBytesPerSecond: 9, outputDelayMs: { p50: 0.4, p99: 139 }, joinStopMs: null },
  ...{ detail: null, refusals: {} },
}
const NUMBERS: HostNumbers = {
  ...{ version: '1.0.0', build: 'abc', releasedOutputs: 3, outputDelaySumMs: 600 },
  ...{ cpuSeconds: 1.5, residentBytes: 4096, startSeconds: 1.7e9 },
}

interface Family {
  readonly type: string
  readonly samples: Map<string, string>
}

/** Reads the text as Prometheus would: strictly. */
function families(text: string): Map<string, Family> {
  const found = new Map<string, Family>()
  let current: string | undefined
  assert.ok(text.endsWith('\n'))
  for (const line of text.slice(0, -1).split('\n')) {
    const [, comment, name, rest] = /^# (HELP|TYPE) ([a-z_]+) (.+)$/.exec(line) ?? []
    if (comment === 'HELP') assert.ok(!found.has(name!), `${name} twice`)
    if (comment === 'TYPE') {
      assert.match(rest!, /^(gauge|counter|summary)$/)
      found.set(name!, { type: rest!, samples: new Map() })
      current = name
    }
    if (comment !== undefined) continue
    const [, sample, labels, value] =
      /^([a-z_]+)(\{(?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)+\}) (\d+(?:\.\d+)?)$/.exec(line) ?? []
    assert.ok(sample !== undefined, line)
    assert.match(sample, new RegExp(`^${current}(_sum|_count)?$`))
    const { samples } = found.get(current!)!
    assert.ok(!samples.has(sample + labels!), line)
    samples.set(sample + labels!, value!)
  }
  return found
}

describe('the metrics of a host', () => {
  const found = families(metricsText(STATUS, NUMBERS))
  const value = (series: string): string | undefined =>
    [...found.values()].flatMap(({ samples }) => [...samples]).find(([name]) => name === series)?.[1]

  it('are the text format of Prometheus, with counters and units by their names', () => {
    for (const [name, { type, samples }] of found) {
      assert.equal(name.endsWith('_total'), type === 'counter', name)
      assert.doesNotMatch(name, /_(ms|kb|millis|percent)/)
      for (const series of samples.keys()) assert.match(series, /\{machine="db",host="a"/)
    }
  })

  it('are in seconds and bytes, and exact where a double would not be', () => {
    const labels = '{machine="db",host="a"}'
    assert.equal(value(`understudy_backup_lag_seconds${labels}`), '0.0125')
    assert.equal(value(`understudy_executed_steps_total${labels}`), '18446744073709551615')
    assert.equal(value(`understudy_log_bytes_total${labels}`), '1000')
    assert.equal(value(`understudy_output_delay_seconds_sum${labels}`), '0.6')
    assert.equal(value('understudy_output_delay_seconds{machine="db",host="a",quantile="0.99"}'), '0.139')
    assert.equal(value(`understudy_join_stop_seconds${labels}`), undefined)
  })

  it('have exactly one state with its reason, and one role', () => {
    for (const protection of ['protected', 'not protected', 'stopped', 'halted'] as const) {
      const reason =
        { 'not protected': 'backup lost', halted: 'said: "no"\n\\' }[protection as string] ?? null
      const text = metricsText({ ...STATUS, protection, reason }, NUMBERS)
      const states = [...families(text).get('understudy_protection')!.samples]
      const shown = protection === 'not protected' ? reason : ''
      assert.deepEqual(
        states.filter(([, one]) => one === '1').map(([series]) => series),
        [`understudy_protection{machine="db",host="a",state="${protection}",reason="${shown}"}`],
      )
    }
    const roles = [...found.get('understudy_role')!.samples.values()]
    assert.deepEqual(roles.sort(), ['0', '0', '0', '1'])
  })

  it('do not take what a halted copy says for the reason of another state', () => {
    const text = metricsText({ ...STATUS, protection: 'halted', reason: 'backup lost' }, NUMBERS)
    assert.match(text, /state="not protected",reason="backup lost"\} 0\n/)
  })

  it('leave out what this copy cannot know', () => {
    const backup = metricsText({ ...STATUS, role: 'backup', epoch: null, life: null, lagMs: null }, NUMBERS)
    assert.doesNotMatch(backup, /epoch|life|lag/)
  })

  it('escape what is not plain in a label', () => {
    const text = metricsText(STATUS, { ...NUMBERS, version: 'a"b\\c\nd' })
    assert.match(text, /version="a\\"b\\\\c\\nd"/)
    families(text)
  })
})
