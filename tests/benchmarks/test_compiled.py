import pytest

from benchmarks.compiled import group, padding, spent

PROGRAM = """
%body (p: (s32[], f32[3,4])) -> (s32[], f32[3,4]) {
  %p = (s32[], f32[3,4]) parameter(0)
  %x = f32[4]{0} get-tuple-element(%p), index=1
  %y = f32[4]{0} fusion(%x, %x), kind=kLoop, backend_config={"estimated_cycles":"7"}
  %s = f32[3,4]{1,0} fusion(%y), kind=kLoop
  %dynamic_update_slice_fusion = f32[3,4]{1,0} fusion(%s, %y), kind=kLoop
  ROOT %t = (s32[], f32[3,4]) tuple(%y)
}

%condition (p: (s32[], f32[3,4])) -> pred[] {
  %limit = s32[] constant(3)
}

ENTRY %main (a: f32[4]) -> f32[4] {
  %a = f32[4]{0} parameter(0)
  %loop = (s32[], f32[3,4]) while(%a), condition=%condition, body=%body
  ROOT %b = bf16[4]{0} custom-call(%a), custom_call_target="__kernel", metadata={}
}
"""


def test_bytes_count_operands_and_results_of_what_runs_as_often_as_it_runs():
  costs = {instruction.name: cost for instruction, cost in spent(PROGRAM, False)}
  assert costs == {
    "b": 8 + 16,
    "y": 3 * (16 + 2 * 16),
    # Of a stack, the slice that a run of the loop sees.
    "s": 3 * (16 + 16),
    "dynamic_update_slice_fusion": 3 * 2 * 16,
  }


def test_cycles_are_the_estimates_of_the_compiler():
  assert sum(cost for _, cost in spent(PROGRAM, True)) == 3 * 7


@pytest.mark.parametrize(
  ("name", "kind"),
  [
    ("b", "__kernel"),
    ("y", "fusions in loops"),
    ("dynamic_update_slice_fusion", "stacking"),
  ],
)
def test_instructions_are_grouped_by_what_they_are_for(name, kind):
  found = {i.name: group(i) for i, _ in spent(PROGRAM, False)}
  assert found[name] == kind


def test_padding_is_what_tiles_hold_beyond_their_values():
  tiled = PROGRAM.replace(
    "f32[4]{0} fusion", "bf16[2,3,60]{2,1,0:T(8,128)(2,1)} fusion"
  )
  values = 3 * 2 * 2 * 3 * 60
  assert padding(tiled) == {"bf16[2,3,60]": (values, 3 * 2 * 2 * 8 * 128 - values)}
