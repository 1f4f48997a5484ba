/**
 * What every arbiter must keep to (src/replication/arbiter.ts), as tests. That a chain has one decision for each
 * epoch, and that no answer is older than what anybody knew when it was asked for, is all of linearizability here.
 */
import assert from 'node:assert/strict'
import { afterEach, it } from 'node:test'
import { type Arbiter, type Decision, MAX_DECISION_BYTES } from '../../src/replication/arbiter.ts'
import { currentOf, decide, latest, propose, read, until } from './ask.ts'

/** One kind of arbiter, with nothing decided yet for the machines that it opens. */
export interface Fixture {
  /** A member's arbiter for `machine`. */
  open(machine: string): Promise<Arbiter>
  /** As open; its next proposal takes effect, and the answer is lost. */
  openThatLosesAnswer(machine: string): Promise<Arbiter>
  /** As open; its next proposal is held on its way. */
  openThatIsLate(machine: string): Promise<LateMember>
  /** Closes everything. */
  closeAll(): void
}

export interface LateMember {
  readonly arbiter: Arbiter
  /** Whether the proposal is held: false if it was too quick. */
  readonly isHeld: Promise<boolean>
  release(): void
}

/** How often something that depends on speed is tried. */
const TRIES = 10

const RACE = { members: 20, epochs: 25 }

let machines = 0
function newMachine(): string {
  return `machine-${++machines}`
}

export function testContract(fixture: Fixture): void {
  afterEach(() => fixture.closeAll())
  testProposals(fixture)
  testLostAndLate(fixture)
  testRace(fixture)
}

function testProposals(fixture: Fixture): void {
  it('has no decision at first, and then the one that was proposed', async () => {
    const machine = newMachine()
    const [a, b] = [await fixture.open(machine), await fixture.open(machine)]
    assert.equal(await latest(a), undefined)
    const first = await decide(a, undefined, 'first')
    assert.deepEqual(await latest(b), first)
    const second = await decide(b, first, 'second')
    assert.deepEqual(await latest(a), second)
  })

  it('keeps the decisions of machines apart', async () => {
    const [a, b] = [await fixture.open('apart'), await fixture.open('apart-too')]
    await decide(a, undefined, 'a')
    assert.equal(await latest(b), undefined)
  })

  it('carries the longest text and every character', async () => {
    const arbiter = await fixture.open(newMachine())
    const first = await decide(arbiter, undefined, '"'.repeat(MAX_DECISION_BYTES))
    const characters = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).join('')
    await decide(arbiter, first, characters)
  })

  it('refuses a proposal that does not follow the latest decision', async () => {
    const machine = newMachine()
    const [a, b] = [await fixture.open(machine), await fixture.open(machine)]
    const first = await decide(a, undefined, 'first')
    const second = await decide(a, first, 'second')
    const refused: [Decision | undefined, string][] = [
      [undefined, 'as if there were none'],
      [first, 'one too late'],
      [{ epoch: 2, text: 'not this' }, 'a stranger to 2'],
      [{ epoch: 3, text: 'not yet' }, 'from the future'],
    ]
    for (const [expected, text] of refused) {
      const answer = await propose(b, expected, { epoch: (expected?.epoch ?? 0) + 1, text })
      assert.deepEqual(currentOf(answer), second, text)
    }
    assert.deepEqual(await latest(a), second)
  })

  it('takes identical proposals for one, also at the same time and from several members', async () => {
    const machine = newMachine()
    const [a, b] = [await fixture.open(machine), await fixture.open(machine)]
    const first = await decide(a, undefined, 'first')
    const proposed = { epoch: 2, text: 'second' }
    const answers = await Promise.all([a, b, a, b, a, b].map((arbiter) => propose(arbiter, first, proposed)))
    for (const answer of answers) assert.deepEqual(currentOf(answer), proposed)
    await decide(a, proposed, 'third')
  })
}

function testLostAndLate(fixture: Fixture): void {
  it('knows a proposal again whose answer was lost', async () => {
    const proposed = { epoch: 2, text: 'second' }
    for (let i = 0; i < TRIES; i++) {
      const machine = newMachine()
      const [a, b] = [await fixture.openThatLosesAnswer(machine), await fixture.open(machine)]
      const first = await decide(b, undefined, 'first')
      const answer = await propose(a, first, proposed)
      assert.deepEqual(await latest(b), proposed)
      // A process may be found dead only now.
      const repeated = await until(async () => {
        const said = await propose(a, first, proposed)
        return said.kind === 'unreachable' ? undefined : said
      })
      assert.deepEqual(currentOf(repeated), proposed)
      assert.deepEqual(await latest(a), proposed)
      if (answer.kind === 'unreachable') return
      assert.deepEqual(currentOf(answer), proposed)
    }
    assert.fail('no answer was ever lost')
  })

  /** A late proposal of epoch 2, held now. */
  async function holdProposal(text: string) {
    for (let i = 0; i < TRIES; i++) {
      const machine = newMachine()
      const [late, other] = [await fixture.openThatIsLate(machine), await fixture.open(machine)]
      const first = await decide(other, undefined, 'first')
      const answer = propose(late.arbiter, first, { epoch: 2, text })
      if (await late.isHeld) return { machine, late, other, first, answer }
      late.release()
      await answer
    }
    assert.fail('no proposal was ever late')
  }

  it('lets a late proposal do nothing when its place is taken', async () => {
    const { machine, late, other, first, answer } = await holdProposal('late')
    const second = await decide(other, first, 'second')
    const third = await decide(other, second, 'third')
    late.release()
    const said = await answer
    if (said.kind === 'current') assert.deepEqual(said.decision, third)
    assert.deepEqual(await latest(late.arbiter), third)
    assert.deepEqual(await latest(await fixture.open(machine)), third)
  })

  it('lets a late proposal take effect where its place is free, once', async () => {
    const { late, other, first, answer } = await holdProposal('late')
    assert.deepEqual(await latest(other), first)
    late.release()
    await answer
    const proposed = { epoch: 2, text: 'late' }
    await until(async () => ((await latest(other))?.epoch === 2 ? true : undefined))
    assert.deepEqual(currentOf(await propose(late.arbiter, first, proposed)), proposed)
    assert.deepEqual(await latest(other), proposed)
  })
}

function testRace(fixture: Fixture): void {
  it('lets exactly one of many that race win each epoch, and shows all the same chain', async () => {
    const members = await Promise.all(Array.from({ length: RACE.members }, () => fixture.open('race')))
    const race = new Race()
    await Promise.all(members.map((arbiter, i) => race.run(arbiter, `member ${i}`)))
    race.check()
  })

  it('gives no answer after it was closed', async () => {
    const arbiter = await fixture.open(newMachine())
    await read(arbiter)
    arbiter.read(() => assert.fail('answered'))
    arbiter.close()
    await new Promise((resolve) => setTimeout(resolve, 100))
  })
}

/** Members that read, propose, and read again, until there are enough epochs; and what all of them were told. */
class Race {
  readonly #texts = new Map<number, Set<string>>()
  readonly #winners = new Map<number, string[]>()
  #attempts = 0
  /** The highest epoch in any answer that has come. */
  #known = 0

  async run(arbiter: Arbiter, name: string): Promise<void> {
    for (let i = 0; ; i++) {
      const expected = await this.#ask((onAnswer) => arbiter.read(onAnswer))
      if ((expected?.epoch ?? 0) >= RACE.epochs) return
      const proposed = { epoch: (expected?.epoch ?? 0) + 1, text: `${name}, attempt ${i}` }
      this.#attempts++
      const found = await this.#ask((onAnswer) => arbiter.propose(expected, proposed, onAnswer))
      if (found?.epoch !== proposed.epoch || found.text !== proposed.text) continue
      this.#winners.set(found.epoch, [...(this.#winners.get(found.epoch) ?? []), name])
    }
  }

  async #ask(send: (onAnswer: Parameters<Arbiter['read']>[0]) => void): Promise<Decision | undefined> {
    const known = this.#known
    const found = currentOf(await new Promise(send))
    const epoch = found?.epoch ?? 0
    assert.ok(epoch >= known, `an answer with epoch ${epoch}, asked for when ${known} was known`)
    this.#known = Math.max(this.#known, epoch)
    if (found !== undefined) this.#texts.set(epoch, (this.#texts.get(epoch) ?? new Set()).add(found.text))
    return found
  }

  check(): void {
    for (const [epoch, texts] of this.#texts) assert.equal(texts.size, 1, `epoch ${epoch}: ${[...texts]}`)
    for (const [epoch, winners] of this.#winners)
      assert.equal(winners.length, 1, `epoch ${epoch}: ${winners}`)
    assert.ok(this.#winners.size > RACE.epochs / 2, 'hardly anybody was told to have won')
    assert.ok(this.#attempts > RACE.epochs, 'nobody ever lost')
    assert.equal(this.#known, RACE.epochs)
  }
}
