/** The worker's side of emission_worker.ts. */
import { workerData } from 'node:worker_threads'
import { compileModule } from '../host/engine.ts'
import { EmissionService } from '../machine/translator/emission_thread.ts'
import type { EmissionCommand, EmissionReport, EmissionWorkerData } from './emission_worker.ts'

const { port, parts, limits, life: firstLife } = workerData as EmissionWorkerData

function main(): void {
  let life = firstLife
  const report = (message: EmissionReport): void => port.postMessage(message)
  const begin = (): EmissionService =>
    new EmissionService(parts, limits, compileModule, (answer) => report({ kind: 'answer', answer, life }))
  let service = begin()
  port.on('message', (command: EmissionCommand) => {
    try {
      if (command.kind === 'order') service.order(command.order, command.taken)
      else if (command.kind === 'finish') service.finish()
      else {
        life = command.life
        service = begin()
      }
    } catch (error) {
      report({ kind: 'failure', error })
    }
  })
}

main()
