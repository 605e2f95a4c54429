"""The PTX module of a probe: inputs into registers, the statements, registers and memory out."""

from __future__ import annotations

from collections.abc import Iterator

from profiles.simulator.probes.probe import WORD_BYTES, Probe

ENTRY = "probe"

# The oldest version with everything that the probes use; its drivers are those of CUDA 12.4 and later.
_VERSION = "8.4"


def kernel_text(probe: Probe) -> str:
    """The module; its kernel takes the address of the inputs, of the outputs, of scratch memory, and tensor maps."""
    maps = "".join(f", .param .align 64 .b8 map{index}[128]" for index in range(len(probe.tensors)))
    lines = [
        f".version {_VERSION}",
        f".target {probe.target}",
        ".address_size 64",
        f".visible .entry {ENTRY}(.param .u64 in, .param .u64 out, .param .u64 scratch{maps})",
        "{",
        *_declarations(probe),
        *_start(probe),
        *_inputs(probe),
        *_shared_content(probe),
        "{",
        probe.statements.strip(),
        "}",
        *_outputs(probe),
        *_shared_dump(probe),
        "ret;",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _declarations(probe: Probe) -> Iterator[str]:
    yield ".reg .b64 %in, %out, %global, %place, %word;"
    yield ".reg .b32 %lane, %thread, %size, %rank, %buffer, %offset, %target;"
    yield ".reg .pred %more;"
    for name, kinds in (("a", [kind for kind, _ in probe.inputs]), ("d", [output.kind for output in probe.outputs])):
        for index, kind in enumerate(kinds):
            yield f".reg .{kind} %{name}{index};"
    for index in range(len(probe.tensors)):
        yield f".reg .b64 %map{index};"
    if probe.shared or probe.dump:
        yield f".shared .align 1024 .b8 memory[{max(len(probe.shared), probe.dump)}];"


def _start(probe: Probe) -> Iterator[str]:
    yield "ld.param.u64 %in, [in];"
    yield "ld.param.u64 %out, [out];"
    yield "ld.param.u64 %global, [scratch];"
    yield "cvta.to.global.u64 %in, %in;"
    yield "cvta.to.global.u64 %out, %out;"
    yield "cvta.to.global.u64 %global, %global;"
    yield "mov.u32 %lane, %tid.x;"
    yield "mov.u32 %size, %ntid.x;"
    yield "mov.u32 %rank, %ctaid.x;"
    yield "mad.lo.u32 %thread, %rank, %size, %lane;"
    for index in range(len(probe.tensors)):
        yield f"mov.b64 %map{index}, map{index};"
        yield f"cvta.param.u64 %map{index}, %map{index};"
    if probe.shared or probe.dump:
        yield "mov.u32 %buffer, memory;"


def _inputs(probe: Probe) -> Iterator[str]:
    if not probe.inputs:
        return
    yield f"mad.wide.u32 %place, %thread, {WORD_BYTES}, %in;"
    for index, (kind, _) in enumerate(probe.inputs):
        yield f"ld.global.b64 %word, [%place+{index * probe.threads * WORD_BYTES}];"
        yield {
            "pred": f"setp.ne.u64 %a{index}, %word, 0;",
            "b64": f"mov.b64 %a{index}, %word;",
        }.get(kind, f"cvt.{kind.replace('b', 'u')}.u64 %a{index}, %word;")


def _shared_content(probe: Probe) -> Iterator[str]:
    if probe.shared:
        first = len(probe.inputs) * probe.threads * WORD_BYTES
        yield f"mad.wide.u32 %place, %lane, {WORD_BYTES}, %in;"
        yield from _loop(
            "fill",
            probe.block,
            len(probe.shared),
            f"ld.global.b64 %word, [%place+{first}];\nst.shared.b64 [%target], %word;",
        )
        yield "bar.sync 0;"


def _outputs(probe: Probe) -> Iterator[str]:
    if not probe.outputs:
        return
    yield f"mad.wide.u32 %place, %thread, {WORD_BYTES}, %out;"
    for index, output in enumerate(probe.outputs):
        yield {
            "pred": f"selp.b64 %word, 1, 0, %d{index};",
            "b64": f"mov.b64 %word, %d{index};",
        }.get(output.kind, f"cvt.u64.{output.kind.replace('b', 'u')} %word, %d{index};")
        yield f"st.global.b64 [%place+{index * probe.threads * WORD_BYTES}], %word;"


def _shared_dump(probe: Probe) -> Iterator[str]:
    if probe.dump:
        first = len(probe.outputs) * probe.threads * WORD_BYTES
        yield "bar.sync 0;"
        yield f"mad.wide.u32 %place, %rank, {probe.dump}, %out;"
        yield f"mad.wide.u32 %place, %lane, {WORD_BYTES}, %place;"
        yield from _loop(
            "store",
            probe.block,
            probe.dump,
            f"ld.shared.b64 %word, [%target];\nst.global.b64 [%place+{first}], %word;",
        )


def _loop(label: str, threads: int, size: int, body: str) -> Iterator[str]:
    """Every thread of the block takes the words lane, lane + threads, ... of shared memory; %place goes along."""
    yield f"shl.b32 %offset, %lane, {WORD_BYTES.bit_length() - 1};"
    yield f"{label}_again:"
    yield f"setp.ge.u32 %more, %offset, {size};"
    yield f"@%more bra {label}_done;"
    yield "add.u32 %target, %buffer, %offset;"
    yield body
    yield f"add.u64 %place, %place, {threads * WORD_BYTES};"
    yield f"add.u32 %offset, %offset, {threads * WORD_BYTES};"
    yield f"bra {label}_again;"
    yield f"{label}_done:"
