// SPDX-License-Identifier: GPL-2.0
/*
 * Clocks and heat of a virtual board.
 *
 * QEMU's machine "virt" has neither cpufreq nor a thermal zone. This module
 * registers both with the kernel: a cpufreq policy for each cluster of cores,
 * and a zone "soc-thermal" with a passive trip on which the kernel's own
 * cpufreq cooling devices hang. What is made up is the silicon alone: a clock
 * that changes nothing, and a temperature that somebody sets:
 *
 *   echo 90000 > /sys/module/edgekit_clocks/parameters/temperature_mc
 *
 * At or above the trip the kernel's step-wise governor lowers the clocks one
 * step at a time, for as long as the temperature stays there; below it they
 * come back the same way.
 */
#include <linux/cpu_cooling.h>
#include <linux/cpufreq.h>
#include <linux/module.h>
#include <linux/thermal.h>

#define MOST_CLUSTERS 4
#define STEPS 6
#define TRANSITION_NS 50000
/* How often the kernel looks: while it throttles, and else. */
#define THROTTLING_MS 100
#define POLLING_MS 1000

static unsigned int cores[MOST_CLUSTERS];
static int clusters;
module_param_array(cores, uint, &clusters, 0444);
MODULE_PARM_DESC(cores, "number of cores of each cluster; default: one cluster of all");

static unsigned int max_khz[MOST_CLUSTERS] = {
	1800000, 1800000, 1800000, 1800000
};
module_param_array(max_khz, uint, NULL, 0444);
MODULE_PARM_DESC(max_khz, "highest clock of each cluster");

static unsigned int min_khz = 408000;
module_param(min_khz, uint, 0444);
MODULE_PARM_DESC(min_khz, "lowest clock of all");

static int trip_mc = 85000;
module_param(trip_mc, int, 0644);
MODULE_PARM_DESC(trip_mc, "temperature of the passive trip, in millidegrees");

static int temperature_mc = 45000;
static struct thermal_zone_device *zone;

/* One group of cores that share a clock. */
struct cluster {
	unsigned int first, count;
	struct cpufreq_frequency_table table[STEPS + 1];
	unsigned int khz;
	struct thermal_cooling_device *cooling;
};

static struct cluster all[MOST_CLUSTERS];

static struct cluster *cluster_of(unsigned int cpu)
{
	int i;

	for (i = 0; i < clusters; i++)
		if (cpu - all[i].first < all[i].count)
			return &all[i];
	return NULL;
}

static int clock_init(struct cpufreq_policy *policy)
{
	struct cluster *own = cluster_of(policy->cpu);
	unsigned int cpu;

	if (!own)
		return -ENODEV;
	for (cpu = own->first; cpu < own->first + own->count; cpu++)
		if (cpu_possible(cpu))
			cpumask_set_cpu(cpu, policy->cpus);
	policy->freq_table = own->table;
	policy->driver_data = own;
	policy->cpuinfo.transition_latency = TRANSITION_NS;
	policy->cur = own->khz;
	return 0;
}

static int clock_exit(struct cpufreq_policy *policy)
{
	return 0;
}

static int clock_set(struct cpufreq_policy *policy, unsigned int index)
{
	struct cluster *own = policy->driver_data;

	own->khz = own->table[index].frequency;
	return 0;
}

static unsigned int clock_get(unsigned int cpu)
{
	struct cluster *own = cluster_of(cpu);

	return own ? own->khz : 0;
}

static struct cpufreq_driver clock_driver = {
	.name = "edgekit-clocks",
	.init = clock_init,
	.exit = clock_exit,
	.verify = cpufreq_generic_frequency_table_verify,
	.target_index = clock_set,
	.get = clock_get,
	.attr = cpufreq_generic_attr,
};

static int heat_temperature(struct thermal_zone_device *tz, int *value)
{
	*value = READ_ONCE(temperature_mc);
	return 0;
}

static int heat_trip_type(struct thermal_zone_device *tz, int trip,
			  enum thermal_trip_type *type)
{
	*type = THERMAL_TRIP_PASSIVE;
	return 0;
}

static int heat_trip(struct thermal_zone_device *tz, int trip, int *value)
{
	*value = READ_ONCE(trip_mc);
	return 0;
}

/*
 * A temperature that was set stays, which the governor would take for steady
 * and do nothing: that it is above or below the trip is the trend.
 */
static int heat_trend(struct thermal_zone_device *tz, int trip,
		      enum thermal_trend *trend)
{
	*trend = READ_ONCE(temperature_mc) >= READ_ONCE(trip_mc) ?
		THERMAL_TREND_RAISING : THERMAL_TREND_DROPPING;
	return 0;
}

static bool is_ours(struct thermal_cooling_device *cooling)
{
	int i;

	for (i = 0; i < clusters; i++)
		if (all[i].cooling == cooling)
			return true;
	return false;
}

static int heat_bind(struct thermal_zone_device *tz,
		     struct thermal_cooling_device *cooling)
{
	if (!is_ours(cooling))
		return 0;
	return thermal_zone_bind_cooling_device(tz, 0, cooling, THERMAL_NO_LIMIT,
						THERMAL_NO_LIMIT,
						THERMAL_WEIGHT_DEFAULT);
}

static int heat_unbind(struct thermal_zone_device *tz,
		       struct thermal_cooling_device *cooling)
{
	return is_ours(cooling) ?
		thermal_zone_unbind_cooling_device(tz, 0, cooling) : 0;
}

static struct thermal_zone_device_ops heat_ops = {
	.bind = heat_bind,
	.unbind = heat_unbind,
	.get_temp = heat_temperature,
	.get_trip_type = heat_trip_type,
	.get_trip_temp = heat_trip,
	.get_trend = heat_trend,
};

static int set_temperature(const char *text, const struct kernel_param *param)
{
	int result = param_set_int(text, param);

	/* Seen at once, not at the next look. */
	if (!result && zone)
		thermal_zone_device_update(zone, THERMAL_EVENT_UNSPECIFIED);
	return result;
}

static const struct kernel_param_ops temperature_ops = {
	.set = set_temperature,
	.get = param_get_int,
};
module_param_cb(temperature_mc, &temperature_ops, &temperature_mc, 0644);
MODULE_PARM_DESC(temperature_mc, "the zone's temperature, in millidegrees");

static int __init lay_out(void)
{
	unsigned int first = 0;
	int i, step;

	if (!clusters) {
		clusters = 1;
		cores[0] = num_possible_cpus();
	}
	for (i = 0; i < clusters; i++) {
		if (!cores[i] || max_khz[i] <= min_khz)
			return -EINVAL;
		all[i].first = first;
		all[i].count = cores[i];
		first += cores[i];
		for (step = 0; step < STEPS; step++)
			all[i].table[step].frequency = min_khz +
				(max_khz[i] - min_khz) / (STEPS - 1) * step;
		/* Whatever the division left over. */
		all[i].table[STEPS - 1].frequency = max_khz[i];
		all[i].table[STEPS].frequency = CPUFREQ_TABLE_END;
		all[i].khz = max_khz[i];
	}
	return 0;
}

static void drop_cooling(void)
{
	int i;

	for (i = 0; i < clusters; i++)
		if (!IS_ERR_OR_NULL(all[i].cooling))
			cpufreq_cooling_unregister(all[i].cooling);
}

static int __init add_cooling(void)
{
	struct cpufreq_policy *policy;
	int i;

	for (i = 0; i < clusters; i++) {
		policy = cpufreq_cpu_get(all[i].first);
		if (!policy)
			return -ENODEV;
		all[i].cooling = cpufreq_cooling_register(policy);
		cpufreq_cpu_put(policy);
		if (IS_ERR(all[i].cooling))
			return PTR_ERR(all[i].cooling);
	}
	return 0;
}

static int __init edgekit_clocks_init(void)
{
	int result = lay_out();

	if (result)
		return result;
	result = cpufreq_register_driver(&clock_driver);
	if (result)
		return result;
	result = add_cooling();
	if (result)
		goto undo;
	zone = thermal_zone_device_register("soc-thermal", 1, 0, NULL, &heat_ops,
					    NULL, THROTTLING_MS, POLLING_MS);
	if (IS_ERR(zone)) {
		result = PTR_ERR(zone);
		zone = NULL;
		goto undo;
	}
	return thermal_zone_device_enable(zone);
undo:
	drop_cooling();
	cpufreq_unregister_driver(&clock_driver);
	return result;
}
module_init(edgekit_clocks_init);

static void __exit edgekit_clocks_exit(void)
{
	struct thermal_zone_device *gone = zone;

	zone = NULL;
	thermal_zone_device_unregister(gone);
	drop_cooling();
	cpufreq_unregister_driver(&clock_driver);
}
module_exit(edgekit_clocks_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Clocks and heat of edgekit's virtual boards");
