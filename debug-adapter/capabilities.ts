/** The answer to `initialize`. */
import type { DebugProtocol as DAP } from '@vscode/debugprotocol';
import type { Engine } from './engine';

/** What the adapter can do. Exits and exceptions are listed as the filters of the Breakpoints view. */
export function capabilities(engine: Engine): DAP.Capabilities {
  const filter =
    (kind: string) =>
    ({ name, description }: { name: string; description: string }): DAP.ExceptionBreakpointsFilter => ({
      filter: name,
      label: name,
      description: `${kind}: ${description}`,
      default: false,
      supportsCondition: true,
      conditionDescription: "expression over the exit's fields and $registers, such as port == 0x3f8 && write",
    });
  return {
    supportsConfigurationDoneRequest: true,
    supportsFunctionBreakpoints: true,
    supportsConditionalBreakpoints: true,
    supportsHitConditionalBreakpoints: true,
    supportsLogPoints: true,
    supportsEvaluateForHovers: true,
    supportsSetVariable: true,
    supportsSetExpression: true,
    supportsReadMemoryRequest: true,
    supportsWriteMemoryRequest: true,
    supportsDisassembleRequest: true,
    supportsInstructionBreakpoints: true,
    supportsSteppingGranularity: true,
    supportsDataBreakpoints: true,
    supportsDataBreakpointBytes: true,
    supportsStepBack: true,
    supportsGotoTargetsRequest: true,
    supportsExceptionOptions: true,
    supportsExceptionFilterOptions: true,
    supportsExceptionInfoRequest: true,
    supportsRestartRequest: true,
    supportsTerminateRequest: true,
    supportTerminateDebuggee: true,
    supportsCompletionsRequest: true,
    completionTriggerCharacters: ['$', '.', ' '],
    supportsModulesRequest: true,
    supportsLoadedSourcesRequest: true,
    supportsValueFormattingOptions: true,
    supportsCancelRequest: true,
    supportsBreakpointLocationsRequest: true,
    supportsSingleThreadExecutionRequests: true,
    supportsDelayedStackTraceLoading: true,
    exceptionBreakpointFilters: [
      ...engine.exitNames().map(filter('VM exit')),
      ...engine.exceptionNames().map(filter('Guest exception')),
    ],
  };
}
