/** What `understudy host` does. */
import { endAtOnce } from '../node/end_at_once.ts'
import { collectGarbage } from '../node/heap.ts'
import { hostConfigSchema } from '../node/host/host_config.ts'
import { runHost } from '../node/host/host_process.ts'
import { readStoredJson } from '../node/host/stored_json.ts'
import { EXIT_CODE } from './exit_codes.ts'
import { startOverIfCold } from './fresh_process.ts'
import type { HostCommandOptions } from './host.ts'
import { findImageFiles } from './image_files.ts'
import { logLine } from './machines.ts'
import { writeOutput } from './standard_streams.ts'

export async function host({ config: path, restart, force }: HostCommandOptions): Promise<void> {
  const config = readStoredJson(path, hostConfigSchema)
  startOverIfCold()
  const onNotice = (text: string): void => writeOutput(logLine(text))
  onNotice(`process ${process.pid} of machine ${config.machine} at host ${config.host}`)
  const end = await runHost(config, {
    ...{ findImage: findImageFiles, onNotice },
    ...{ mayRestart: restart === true, isForced: force === true },
  })
  onNotice(`ends: ${end.reason}`)
  if (end.isStuck === true) {
    onNotice('its disk has not been closed so far: it is left as it is')
    endAtOnce()
  }
  collectGarbage()
  process.exit(end.isStopped ? EXIT_CODE.success : EXIT_CODE.halted)
}
