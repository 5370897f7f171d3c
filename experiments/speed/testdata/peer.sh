#!/bin/sh
# Stands in for PyTorch in tests: every workload takes it a millisecond, but for those that it does not know, or dies of.
echo '{"peer": "stand-in 1"}'
while read -r seconds workload; do
  case "${workload}" in
    Rotary/*) echo '{"absent": "no such workload"}' ;;
    Broken/*) exit 1 ;;
    *) echo '{"seconds": 0.001}' ;;
  esac
done
