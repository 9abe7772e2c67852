/** From F5 to a running adapter: configurations out of nothing, checks before the launch, the adapter's process. */
import * as vscode from 'vscode';
import { AdapterProcess, type OwnEvent } from './adapterProcess';
import { classifyKernel, headerLength, type KernelFile } from './kernelFile';

export const debugType = 'ringside';

/** Above this size (bytes) a file is not read just to find out whether it is a kernel. */
const readLimit = 96 * 1024 * 1024;

interface Candidate {
  uri: vscode.Uri;
  kind: KernelFile;
}

export function registerLaunch(
  context: vscode.ExtensionContext,
  own: (session: vscode.DebugSession, event: OwnEvent) => void,
): LaunchProvider {
  const provider = new LaunchProvider(context.extensionUri);
  const { Initial, Dynamic } = vscode.DebugConfigurationProviderTriggerKind;
  context.subscriptions.push(
    vscode.debug.registerDebugConfigurationProvider(debugType, provider, Initial),
    vscode.debug.registerDebugConfigurationProvider(
      debugType,
      { provideDebugConfigurations: (folder) => provider.dynamicConfigurations(folder) },
      Dynamic,
    ),
    vscode.debug.registerDebugAdapterDescriptorFactory(debugType, new AdapterFactory(context.extensionUri, own)),
    vscode.commands.registerCommand('ringside.debugFile', (uri?: vscode.Uri) => debugFile(provider, uri)),
    vscode.commands.registerCommand('ringside.debugSample', () => start(provider.sampleConfiguration())),
  );
  return provider;
}

async function debugFile(provider: LaunchProvider, uri?: vscode.Uri): Promise<void> {
  const kernel = uri && (await readKernel(uri));
  if (kernel) return start(configurationFor(kernel));
  if (uri && !isSource(uri)) {
    const name = vscode.workspace.asRelativePath(uri);
    void vscode.window.showErrorMessage(
      `${name} is not an image that Ringside can boot: expected an x86 ELF kernel, a Linux bzImage or a boot sector.`,
    );
    return;
  }
  const config = await provider.defaultConfiguration(uri && vscode.workspace.getWorkspaceFolder(uri));
  if (config) await start(config);
}

function isSource(uri: vscode.Uri): boolean {
  return /\.(c|cc|cpp|cxx|h|hpp|rs|zig|s|asm|nasm|inc)$/i.test(uri.path);
}

async function start(config: vscode.DebugConfiguration): Promise<void> {
  const kernel = vscode.Uri.file(config.kernel);
  await vscode.debug.startDebugging(vscode.workspace.getWorkspaceFolder(kernel), config);
}

/** The first bytes of a file, as an image to boot; undefined when it is none or can't be read. */
async function readKernel(uri: vscode.Uri): Promise<Candidate | undefined> {
  try {
    const { size, type } = await vscode.workspace.fs.stat(uri);
    if (!(type & vscode.FileType.File) || size > readLimit) return undefined;
    const kind = classifyKernel((await vscode.workspace.fs.readFile(uri)).subarray(0, headerLength));
    return kind && { uri, kind };
  } catch {
    return undefined;
  }
}

function configurationFor({ uri, kind }: Candidate): vscode.DebugConfiguration {
  const name = uri.path.slice(uri.path.lastIndexOf('/') + 1);
  return {
    type: debugType,
    request: 'launch',
    name: `Debug ${name}`,
    kernel: uri.fsPath,
    ...(kind.kind === 'linux' ? { cmdline: 'console=ttyS0' } : {}),
    stopOnEntry: true,
  };
}

export class LaunchProvider implements vscode.DebugConfigurationProvider {
  constructor(private readonly extensionUri: vscode.Uri) {}

  sampleConfiguration(): vscode.DebugConfiguration {
    const kernel = vscode.Uri.joinPath(this.extensionUri, 'samples', 'hello-guest', 'hello.elf');
    return {
      type: debugType,
      request: 'launch',
      name: 'Debug sample kernel',
      kernel: kernel.fsPath,
      stopOnEntry: true,
    };
  }

  /** For a new launch.json. */
  async provideDebugConfigurations(
    folder: vscode.WorkspaceFolder | undefined,
  ): Promise<vscode.DebugConfiguration[] | undefined> {
    const found = await this.dynamicConfigurations(folder);
    const portable = (config: vscode.DebugConfiguration) => ({
      ...config,
      kernel: folder ? config.kernel.replace(folder.uri.fsPath, '${workspaceFolder}') : config.kernel,
    });
    if (found.length) return found.map(portable);
    return [{ ...this.sampleConfiguration(), name: 'Debug kernel', kernel: '${workspaceFolder}/kernel.elf' }];
  }

  /** Every bootable image of a folder, for the list of the Run and Debug view. */
  async dynamicConfigurations(folder: vscode.WorkspaceFolder | undefined): Promise<vscode.DebugConfiguration[]> {
    return (await this.candidates(folder)).map(configurationFor);
  }

  /** What F5 does without a launch.json: the active editor's image, the folder's only one, one picked, or the sample. */
  async defaultConfiguration(
    folder: vscode.WorkspaceFolder | undefined,
    token?: vscode.CancellationToken,
  ): Promise<vscode.DebugConfiguration | undefined> {
    const input = vscode.window.tabGroups.activeTabGroup.activeTab?.input;
    if (input instanceof vscode.TabInputText || input instanceof vscode.TabInputCustom) {
      const active = await readKernel(input.uri);
      if (active) return configurationFor(active);
    }
    const found = await this.candidates(folder, token);
    if (found.length === 1) return configurationFor(found[0]);
    if (!found.length) return this.sampleConfiguration();
    const picked = await vscode.window.showQuickPick(
      found.map((candidate) => ({
        label: vscode.workspace.asRelativePath(candidate.uri),
        description: candidate.kind.description,
        candidate,
      })),
      { title: 'Ringside', placeHolder: 'Which image should the guest boot?' },
      token,
    );
    return picked && configurationFor(picked.candidate);
  }

  async resolveDebugConfiguration(
    folder: vscode.WorkspaceFolder | undefined,
    config: vscode.DebugConfiguration,
    token?: vscode.CancellationToken,
  ): Promise<vscode.DebugConfiguration | undefined> {
    let resolved: vscode.DebugConfiguration | undefined = config;
    if (!config.type && !config.request && !config.name) {
      resolved = await this.defaultConfiguration(folder, token);
      if (!resolved) return undefined;
    }
    return { ...resolved, __attachConsole: true, ...(folder ? { __workspaceFolder: folder.uri.fsPath } : {}) };
  }

  /** Runs after variables are substituted and a preLaunchTask has built the kernel. */
  async resolveDebugConfigurationWithSubstitutedVariables(
    folder: vscode.WorkspaceFolder | undefined,
    config: vscode.DebugConfiguration,
  ): Promise<vscode.DebugConfiguration | undefined> {
    // Everything else is the adapter's to check, so that every client gets the same messages.
    if (config.request !== 'launch' || (typeof config.kernel === 'string' && (await exists(config.kernel, folder)))) {
      return config;
    }
    if (config.kernel !== undefined && typeof config.kernel !== 'string') return config;
    return this.repairKernel(folder, config);
  }

  private async repairKernel(
    folder: vscode.WorkspaceFolder | undefined,
    config: vscode.DebugConfiguration,
  ): Promise<vscode.DebugConfiguration | undefined> {
    const choose = 'Choose Image...';
    const open = 'Open launch.json';
    const sample = 'Debug Sample Kernel';
    const what = config.kernel
      ? `"kernel": there is no file ${config.kernel}. Build the kernel first, or choose an image to boot.`
      : `The configuration "${config.name}" has no "kernel": the path of the image to boot.`;
    const answer = await vscode.window.showErrorMessage(what, { modal: true }, choose, open, sample);
    if (answer === choose) {
      const [uri] = (await vscode.window.showOpenDialog({ title: 'Image to Boot', defaultUri: folder?.uri })) ?? [];
      return uri && { ...config, kernel: uri.fsPath };
    }
    if (answer === sample) return { ...config, ...this.sampleConfiguration() };
    if (answer === open) await vscode.commands.executeCommand('workbench.action.debug.configure');
    return undefined;
  }

  private async candidates(
    folder: vscode.WorkspaceFolder | undefined,
    token?: vscode.CancellationToken,
  ): Promise<Candidate[]> {
    if (!folder && !vscode.workspace.workspaceFolders?.length) return [];
    const glob = '**/{*.elf,*.bin,*.img,vmlinux,vmlinuz*,bzImage*,kernel}';
    const include = folder ? new vscode.RelativePattern(folder, glob) : glob;
    const files = await vscode.workspace.findFiles(include, '**/{node_modules,.git}/**', 100, token);
    const read = await Promise.all(files.map(readKernel));
    return read.filter((candidate) => candidate !== undefined).sort((a, b) => a.uri.path.localeCompare(b.uri.path));
  }
}

async function exists(path: string, folder: vscode.WorkspaceFolder | undefined): Promise<boolean> {
  const absolute = /^([/\\]|[A-Za-z]:[/\\])/.test(path);
  if (!absolute && !folder) return true; // the adapter resolves it, and says so if it can't
  const uri = absolute ? vscode.Uri.file(path) : vscode.Uri.joinPath(folder!.uri, path);
  try {
    await vscode.workspace.fs.stat(uri);
    return true;
  } catch {
    return false;
  }
}

/**
 * The adapter runs in its own process on the editor's own Node, so nothing has to be installed. On the desktop
 * process.execPath is Electron, which ELECTRON_RUN_AS_NODE turns into Node; on a server it is Node, which ignores it.
 */
export class AdapterFactory implements vscode.DebugAdapterDescriptorFactory {
  /** @param own takes Ringside's own events of a session */
  constructor(
    private readonly extensionUri: vscode.Uri,
    private readonly own: (session: vscode.DebugSession, message: OwnEvent) => void,
  ) {}

  createDebugAdapterDescriptor(session: vscode.DebugSession): vscode.DebugAdapterDescriptor {
    const program = vscode.Uri.joinPath(this.extensionUri, 'out', 'debug-adapter', 'main.js').fsPath;
    const cwd = session.workspaceFolder?.uri.fsPath;
    const env = { ...process.env, ELECTRON_RUN_AS_NODE: '1' };
    const adapter = new AdapterProcess([process.execPath, program], { cwd, env }, (event) => this.own(session, event));
    return new vscode.DebugAdapterInlineImplementation(adapter);
  }
}
