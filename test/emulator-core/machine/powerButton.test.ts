// ACPI specification, "PM1 Status Registers" and "PM1 Enable Registers": bit 8 is PWRBTN in both.
import assert from 'node:assert/strict';
import { TestMachine } from '../testMachine';

const PM1_STS = 0x600;
const PM1_EN = 0x602;
const PWRBTN = 0x100;

describe('the power button', () => {
  it('sets PWRBTN_STS, says whether the guest listens, and is pressed again when history is replayed', () => {
    const { machine } = new TestMachine({
      kernel: { name: 'test', kernel: Uint8Array.of(0xeb, 0xfe), protocol: 'raw', cmdline: '', modules: [] },
    });
    const { bus } = machine.platform;
    machine.record();
    machine.run(100);
    assert.equal(machine.user.powerButton(), false);
    assert.equal(bus.readPort(PM1_STS, 2) & PWRBTN, PWRBTN);
    bus.writePort(PM1_EN, PWRBTN, 2);
    assert.equal(machine.user.powerButton(), true);
    machine.history.restoreBefore(0);
    assert.equal(bus.readPort(PM1_STS, 2) & PWRBTN, 0);
    machine.run(200);
    assert.equal(bus.readPort(PM1_STS, 2) & PWRBTN, PWRBTN);
  });
});
