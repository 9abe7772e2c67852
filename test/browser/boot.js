/* Boots a guest with the core's bundle to its end. Runs in Node (require) and in a browser worker (importScripts). */
(function (exports) {
  /** Instructions after which a guest that does not end counts as hanging; the sample takes some 100,000. */
  const limit = 50_000_000;

  /**
   * @param {object} core what the bundle exports
   * @param {Uint8Array} kernel
   * @returns what can be compared between Node and a browser: plain data
   */
  exports.bootToEnd = (core, kernel) => {
    let serial = '';
    const notes = [];
    const exits = {};
    const machine = new core.Machine(
      {
        memory: 64 << 20,
        cpus: 1,
        vendor: 'intel',
        features: [],
        debugExit: true,
        startTime: Date.UTC(2026, 0, 1),
        kernel: { name: 'hello.elf', kernel, protocol: 'auto', cmdline: '', modules: [] },
      },
      {
        breakpoint: () => false,
        breakpointsOn: () => undefined,
        exit: () => false,
        watch: () => false,
        console: (byte) => (serial += String.fromCharCode(byte)),
        note: (text) => notes.push(text),
      },
    );
    let result = 'budget';
    while (result === 'budget' && machine.core.retired < limit) result = machine.run(1_000_000);
    for (const { reason, count } of machine.vmm.log.counters()) exits[reason] = count;
    return { serial, notes, exits, result, end: machine.end?.kind, instructions: machine.core.retired };
  };
})(typeof module === 'object' ? module.exports : self);
