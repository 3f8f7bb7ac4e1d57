#!/bin/sh
# Sets what a system board's sensors measure. The drivers that read them are the kernel's own.
#
#   virtual-sensors power MILLIWATTS          the INA226 at 0x40, 5 V over a shunt of 10 milliohms
#   virtual-sensors rail N MILLIVOLTS MILLIAMPERES
#                                             channel N (1 to 3) of the INA3221 at 0x41
#   virtual-sensors temperature MILLIDEGREES  of the zone soc-thermal
#   virtual-sensors register CHIP REGISTER WORD
set -eu

# A chip of the stub is found by its bus, whose number is not fixed.
bus() {
    for each in /sys/class/i2c-dev/i2c-*; do
        [ "$(cat "$each/name")" = "SMBus stub driver" ] && echo "${each##*-}" && return
    done
    echo "virtual-sensors: no i2c-stub is loaded" >&2
    return 1
}

# SMBus sends the low byte of a word first, TI's monitors the high one.
register() {
    word=$(($3))
    i2cset -f -y "$(bus)" "$1" "$2" $(((word & 0xff) << 8 | word >> 8 & 0xff)) w
}

case ${1:-} in
power)
    register 0x40 2 4000             # 5 V in steps of 1.25 mV
    register 0x40 1 $(($2 * 4 / 5))  # the shunt's voltage, 2.5 uV
    register 0x40 4 $(($2 * 4 / 5))  # the current, 0.25 mA
    register 0x40 3 $(($2 * 4 / 25)) # the power, 6.25 mW
    ;;
rail)
    register 0x41 $(($2 * 2)) "$3"           # 8 mV, from the fourth bit on
    register 0x41 $(($2 * 2 - 1)) $(($4 * 2)) # 40 uV over 10 milliohms, likewise
    ;;
temperature) echo "$2" >/sys/module/edgekit_clocks/parameters/temperature_mc ;;
register) register "$2" "$3" "$4" ;;
*)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
