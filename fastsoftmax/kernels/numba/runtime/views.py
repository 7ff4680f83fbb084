"""A record as compiled code sees it: fields and parts of scratch as attributes.

    job, s = open_record(record, worker, zero, index)
    job.n, job.theta        a number, a typed pointer; `given(job.bias)` tells whether there is such an array
    s.H                     a typed pointer to a part of this worker's scratch, or of what all workers share

Each is loaded where it is used. The loads say that the record does not change, so that LLVM moves them out of loops.
"""

from llvmlite import ir
from numba.core import types
from numba.core.imputils import lower_getattr_generic
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import intrinsic, models, register_model

from ..microkernels.memory import INT64
from .record import FIELDS, INDEX, INT, NUMBERS, PARTS, VALUE, Array, Inline, Record


class View(types.Type):
    """A record as compiled code sees it, for these dtypes."""

    def __init__(self, value, index):
        self.dtypes = {VALUE: value, INDEX: index}
        super().__init__(name=f"{self.__class__.__name__}({value}, {index})")

    def pointer_to(self, dtype):
        return types.CPointer(self.dtypes.get(dtype, dtype))


class Job(View):
    """The fields of a record; its value is the record's address."""


class Scratch(View):
    """The parts of a worker's scratch; its value is the record's address and the worker's number."""


@register_model(Job)
class JobModel(models.PrimitiveModel):
    def __init__(self, manager, job):
        super().__init__(manager, job, INT64)


@register_model(Scratch)
class ScratchModel(models.PrimitiveModel):
    def __init__(self, manager, scratch):
        super().__init__(manager, scratch, ir.LiteralStructType([INT64, INT64]))


@intrinsic
def open_record(typingctx, record, worker, zero, index):
    """The `Job` and the `Scratch` of a worker; ``zero`` and ``index`` have the dtypes that the code is made for."""
    kinds = Job(zero, index), Scratch(zero, index)

    def emit(context, builder, sig, args):
        both = ir.Constant(ir.LiteralStructType([INT64, INT64]), ir.Undefined)
        for i in range(2):
            both = builder.insert_value(both, args[i], i)
        return context.make_tuple(builder, sig.return_type, [args[0], both])

    return types.Tuple(kinds)(types.intp, types.intp, zero, index), emit


@infer_getattr
class JobFields(AttributeTemplate):
    key = Job

    def generic_resolve(self, job, name):
        kind = FIELDS[name]
        if isinstance(kind, Inline):
            return types.CPointer(types.int64)
        return job.pointer_to(kind.dtype) if isinstance(kind, Array) else kind


@infer_getattr
class ScratchParts(AttributeTemplate):
    key = Scratch

    def generic_resolve(self, scratch, name):
        return scratch.pointer_to(PARTS[name])


@lower_getattr_generic(Job)
def emit_field(context, builder, job, record, name):
    place, kind = builder.add(record, ir.Constant(INT64, getattr(Record, name).offset)), FIELDS[name]
    if isinstance(kind, Inline):
        return builder.inttoptr(place, INT64.as_pointer())
    if isinstance(kind, Array):
        pointer = context.get_value_type(job.pointer_to(kind.dtype))
        return builder.inttoptr(emit_number(builder, place, INT64), pointer)
    return emit_number(builder, place, INT64 if kind is INT else ir.DoubleType())


@lower_getattr_generic(Scratch)
def emit_part(context, builder, scratch, value, name):
    record, worker = (builder.extract_value(value, i) for i in range(2))
    place = builder.add(record, ir.Constant(INT64, Record.parts.offset + 16 * NUMBERS[name]))
    begin, step = (emit_number(builder, builder.add(place, ir.Constant(INT64, 8 * i)), INT64) for i in range(2))
    address = builder.add(record, builder.add(begin, builder.mul(worker, step)))
    return builder.inttoptr(address, context.get_value_type(scratch.pointer_to(PARTS[name])))


def emit_number(builder, place, kind):
    """The number at an address in the record, which does not change while a share runs."""
    number = builder.load(builder.inttoptr(place, kind.as_pointer()))
    number.set_metadata("invariant.load", builder.module.add_metadata([]))
    return number
