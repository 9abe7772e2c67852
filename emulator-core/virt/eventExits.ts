/**
 * VM exits of control transfers: software exceptions by the exception bitmap, task switches always, and the IDT-vectoring information
 * of exits while an event is delivered. SDM Vol. 3C, "Other Causes of VM Exits", "Information for VM Exits During Event Delivery".
 */
import type { TransferExits } from '../cpu/cpuContext';
import type { Vmm } from './vmm';
import { ExitReason, encodeInterruptionInformation, encodeTaskSwitchQualification } from './vmx/exitReasons';

export function transferExits(vmm: Vmm): TransferExits {
  return {
    softwareException: (c, vector, type) => {
      if (!(vmm.exceptionBitmap & (1 << vector))) return;
      vmm.exit(c.cpu, ExitReason.exceptionOrNmi, c.rip, {
        interruptionInfo: encodeInterruptionInformation(vector, type),
        instructionLength: c.length,
      });
    },
    taskSwitch: (c, selector, source) => {
      vmm.exit(c.cpu, ExitReason.taskSwitch, c.rip, {
        qualification: encodeTaskSwitchQualification({ selector, source }),
        instructionLength: c.uop ? c.length : 0,
      });
    },
    delivering: (info, error, run) => {
      vmm.recorder.vectoringInfo = info;
      vmm.recorder.vectoringError = error;
      try {
        run();
      } finally {
        vmm.recorder.vectoringInfo = 0;
        vmm.recorder.vectoringError = 0;
      }
    },
  };
}
