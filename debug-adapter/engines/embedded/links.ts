/** The services behind devices that reach outside of the machine: one a device. */

/** What answers a device's messages. */
export interface LinkService {
  /** Something is under way: an idle guest waits for it, so its time should not run ahead of the world's. Absent: never. */
  readonly busy?: boolean;
  /** A message of the device's. Answers come later, never within this call. */
  message(message: Uint8Array): void;
  /** Nobody listens any more: ends what is under way, closes what is open. */
  close(): void;
}

/** Opens a device's service. @param answer gives a message to the device */
export type OpenLink = (answer: (message: Uint8Array) => void) => LinkService;

export interface LinkServicesHost {
  /** A message for a device. */
  receive(device: string, message: Uint8Array): void;
}

export class LinkServices {
  private readonly open = new Map<string, LinkService>();

  /** @param openers by the device's name */
  constructor(
    private readonly openers: ReadonlyMap<string, OpenLink>,
    private readonly host: LinkServicesHost,
  ) {
    this.openAll();
  }

  /** A device's message. */
  send(device: string, message: Uint8Array): void {
    this.open.get(device)?.message(message);
  }

  /** What was under way belongs to a future that is gone: services begin anew, and what old ones still say is not heard. */
  lost(): void {
    this.close();
    this.openAll();
  }

  /** Whether the guest waits for somebody outside. */
  get busy(): boolean {
    return [...this.open.values()].some((service) => service.busy);
  }

  close(): void {
    for (const service of this.open.values()) service.close();
    this.open.clear();
  }

  private openAll(): void {
    for (const [device, opener] of this.openers) {
      const service: LinkService = opener((message) => {
        if (this.open.get(device) === service) this.host.receive(device, message);
      });
      this.open.set(device, service);
    }
  }
}
