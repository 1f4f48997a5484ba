/**
 * The device tree of the board: how a kernel learns what computer it runs on.
 *
 * It is a pure function of the configuration, so that both copies of a machine boot with the same bytes. Bindings:
 * Devicetree Specification 0.4 and the files under Documentation/devicetree/bindings of Linux.
 */
import { assert } from '../base/assert.ts'
import { UserError } from '../base/errors.ts'
import { cells, type DeviceTreeNode, flattenDeviceTree, node, present, strings, wideCells } from './fdt.ts'
import {
  CLINT,
  type DeviceRange,
  GENERATION,
  HARTS_MAX,
  PLIC,
  PLIC_SOURCES,
  RAM_ADDRESS,
  RAM_BYTES_MAX,
  RTC,
  SYSCON,
  SYSCON_POWER_OFF,
  SYSCON_RESET,
  TIMEBASE_HERTZ,
  UART,
  UART_CLOCK_HERTZ,
  VIRTIO_SLOTS_MAX,
  virtioSlot,
} from './memory_map.ts'

export interface DeviceTreeOptions {
  /** 1 to 8. */
  readonly harts: number
  readonly ramBytes: number
  /** The kernel command line, in ASCII. */
  readonly bootArguments: string
  /** Where the initial RAM disk lies, in guest physical addresses; `end` is the first byte after it. */
  readonly initrd?: { readonly start: number; readonly end: number }
  /** Seeds the kernel's random numbers. It is input from outside: part of the machine's configuration. */
  readonly rngSeed?: Uint8Array
  /** How many virtio-mmio transports there are, 0 to 8. */
  readonly virtioSlots: number
}

/** Linux for RISC-V cuts longer command lines off (COMMAND_LINE_SIZE, with the closing NUL). */
const BOOT_ARGUMENTS_MAX = 1023

/** In the order of the ISA manual's chapter on naming. Svade: A and D bits are never set by hardware. */
const extensions = [
  ...['i', 'm', 'a', 'f', 'd', 'c'],
  ...['zicntr', 'zicsr', 'zifencei', 'zihintpause'],
  ...['zba', 'zbb', 'zbs', 'sstc', 'svade'],
]

/** `rv64imafdc_zicntr_...`, for kernels that do not read `riscv,isa-extensions` yet. */
function isaString(): string {
  const single = extensions.filter((name) => name.length === 1)
  const multiple = extensions.filter((name) => name.length > 1)
  return `rv64${single.join('')}_${multiple.join('_')}`
}

/** Interrupt numbers at a hart's own controller (privileged specification, table of mcause). */
const HART_INTERRUPT = { machineSoftware: 3, machineTimer: 7, supervisorExternal: 9, machineExternal: 11 }

/** The numbers by which nodes refer to each other. */
const PHANDLE_PLIC = 1
const PHANDLE_SYSCON = 2
const phandleOfHart = (hart: number): number => 0x10 + 2 * hart
const phandleOfHartInterrupts = (hart: number): number => 0x11 + 2 * hart

/**
 * The flattened device tree of a board.
 * @throws UserError for a command line that no kernel could read
 */
export function deviceTree(options: DeviceTreeOptions): Uint8Array {
  const { harts, ramBytes, virtioSlots } = options
  assert(Number.isInteger(harts) && harts >= 1 && harts <= HARTS_MAX, `no board has ${harts} harts`)
  assert(
    ramBytes > 0 && ramBytes <= RAM_BYTES_MAX && ramBytes % 0x1000 === 0,
    `no board has ${ramBytes} B RAM`,
  )
  assert(virtioSlots >= 0 && virtioSlots <= VIRTIO_SLOTS_MAX, `no board has ${virtioSlots} virtio slots`)
  const root = node(
    '',
    {
      '#address-cells': cells(2),
      '#size-cells': cells(2),
      compatible: strings('riscv-virtio'),
      model: strings('Understudy'),
    },
    [
      chosen(options),
      node('aliases', { serial0: strings(`/soc/${unitName('serial', UART)}`) }),
      cpus(harts),
      node(unitName('memory', { address: RAM_ADDRESS }), {
        device_type: strings('memory'),
        reg: wideCells(RAM_ADDRESS, ramBytes),
      }),
      soc(harts, virtioSlots),
      powerNode('poweroff', 'syscon-poweroff', SYSCON_POWER_OFF),
      powerNode('reboot', 'syscon-reboot', SYSCON_RESET),
    ],
  )
  return flattenDeviceTree(root)
}

function unitName(name: string, { address }: { readonly address: number }): string {
  return `${name}@${address.toString(16)}`
}

function chosen({ bootArguments, initrd, rngSeed }: DeviceTreeOptions): DeviceTreeNode {
  checkBootArguments(bootArguments)
  return node('chosen', {
    'stdout-path': strings('serial0'),
    bootargs: strings(bootArguments),
    ...(initrd && {
      'linux,initrd-start': wideCells(initrd.start),
      'linux,initrd-end': wideCells(initrd.end),
    }),
    ...(rngSeed && { 'rng-seed': rngSeed }),
  })
}

function checkBootArguments(text: string): void {
  if (text.length > BOOT_ARGUMENTS_MAX) {
    throw new UserError(
      `kernel command line: ${text.length} characters long, the kernel reads at most ${BOOT_ARGUMENTS_MAX}`,
    )
  }
  const odd = text.search(/[^\x20-\x7e]/)
  if (odd >= 0) {
    throw new UserError(
      `kernel command line: character ${odd + 1} (code ${text.charCodeAt(odd)}) is not printable ASCII`,
    )
  }
}

function cpus(harts: number): DeviceTreeNode {
  const ids = hartIds(harts)
  const cores = ids.map((hart) => node(`core${hart}`, { cpu: cells(phandleOfHart(hart)) }))
  return node(
    'cpus',
    { '#address-cells': cells(1), '#size-cells': cells(0), 'timebase-frequency': cells(TIMEBASE_HERTZ) },
    [...ids.map(cpu), node('cpu-map', {}, [node('cluster0', {}, cores)])],
  )
}

function hartIds(harts: number): number[] {
  return Array.from({ length: harts }, (_, hart) => hart)
}

function cpu(hart: number): DeviceTreeNode {
  return node(
    unitName('cpu', { address: hart }),
    {
      phandle: cells(phandleOfHart(hart)),
      device_type: strings('cpu'),
      reg: cells(hart),
      status: strings('okay'),
      compatible: strings('riscv'),
      'riscv,isa': strings(isaString()),
      'riscv,isa-base': strings('rv64i'),
      'riscv,isa-extensions': strings(...extensions),
      'mmu-type': strings('riscv,sv48'),
    },
    [
      node('interrupt-controller', {
        phandle: cells(phandleOfHartInterrupts(hart)),
        compatible: strings('riscv,cpu-intc'),
        'interrupt-controller': present,
        '#address-cells': cells(0),
        '#interrupt-cells': cells(1),
      }),
    ],
  )
}

function soc(harts: number, virtioSlots: number): DeviceTreeNode {
  const slots = Array.from({ length: virtioSlots }, (_, slot) => virtioSlot(slot))
  return node(
    'soc',
    {
      '#address-cells': cells(2),
      '#size-cells': cells(2),
      compatible: strings('simple-bus'),
      ranges: present,
      'interrupt-parent': cells(PHANDLE_PLIC),
    },
    [
      deviceNode('syscon', SYSCON, ['sifive,test1', 'sifive,test0', 'syscon'], {
        phandle: cells(PHANDLE_SYSCON),
      }),
      deviceNode('rtc', RTC, ['google,goldfish-rtc']),
      deviceNode('rng', GENERATION, ['microsoft,vmgenid']),
      clint(harts),
      plic(harts),
      deviceNode('serial', UART, ['ns16550a'], { 'clock-frequency': cells(UART_CLOCK_HERTZ) }),
      ...slots.map((range) => deviceNode('virtio_mmio', range, ['virtio,mmio'])),
    ],
  )
}

function deviceNode(
  name: string,
  range: DeviceRange,
  compatible: readonly string[],
  properties: Readonly<Record<string, Uint8Array>> = {},
): DeviceTreeNode {
  const { address, bytes, interrupt } = range
  return node(unitName(name, range), {
    compatible: strings(...compatible),
    reg: wideCells(address, bytes),
    ...(interrupt !== undefined && { interrupts: cells(interrupt) }),
    ...properties,
  })
}

function clint(harts: number): DeviceTreeNode {
  return deviceNode('clint', CLINT, ['sifive,clint0', 'riscv,clint0'], {
    'interrupts-extended': hartInterrupts(harts, HART_INTERRUPT.machineSoftware, HART_INTERRUPT.machineTimer),
  })
}

/** The order of `interrupts-extended` numbers the PLIC's contexts: 2h for M-mode of hart h, 2h + 1 for S-mode. */
function plic(harts: number): DeviceTreeNode {
  return deviceNode('plic', PLIC, ['sifive,plic-1.0.0', 'riscv,plic0'], {
    phandle: cells(PHANDLE_PLIC),
    'interrupt-controller': present,
    '#address-cells': cells(0),
    '#interrupt-cells': cells(1),
    'interrupts-extended': hartInterrupts(
      harts,
      HART_INTERRUPT.machineExternal,
      HART_INTERRUPT.supervisorExternal,
    ),
    'riscv,ndev': cells(PLIC_SOURCES),
  })
}

function hartInterrupts(harts: number, ...interrupts: readonly number[]): Uint8Array {
  const wires = hartIds(harts).flatMap((hart) =>
    interrupts.flatMap((interrupt) => [phandleOfHartInterrupts(hart), interrupt]),
  )
  return cells(...wires)
}

function powerNode(name: string, compatible: string, value: number): DeviceTreeNode {
  return node(name, {
    compatible: strings(compatible),
    regmap: cells(PHANDLE_SYSCON),
    offset: cells(0),
    value: cells(value),
  })
}
