"""Score time: ticks, bars, notes, the plan. No torch, no wall clock, no devices."""
