// SPDX-License-Identifier: GPL-2.0
/*
 * Power monitors of a virtual board, as its device tree names them.
 *
 * i2c-stub makes an I2C bus whose chips are plain memory, and has no node in
 * the device tree. So a monitor on it could have no labels and no shunt, which
 * its driver reads there. This module makes an I2C device on that bus for each
 * child of the node "/edgekit-monitors", with the child as its node; the
 * kernel's own driver (ina2xx, ina3221) then takes it up.
 */
#include <linux/i2c.h>
#include <linux/module.h>
#include <linux/of.h>

#define NODE "/edgekit-monitors"
#define STUB "SMBus stub driver"
#define MOST_BUSES 16
#define MOST_MONITORS 8

static struct i2c_adapter *bus;
static struct i2c_client *clients[MOST_MONITORS];
static int count;

static struct i2c_adapter *stub_bus(void)
{
	struct i2c_adapter *found;
	int number;

	for (number = 0; number < MOST_BUSES; number++) {
		found = i2c_get_adapter(number);
		if (found && !strcmp(found->name, STUB))
			return found;
		if (found)
			i2c_put_adapter(found);
	}
	return NULL;
}

static int add(struct device_node *node)
{
	struct i2c_board_info info = { .of_node = node };
	struct i2c_client *client;
	const char *compatible, *comma;
	u32 address;

	if (count == MOST_MONITORS ||
	    of_property_read_u32(node, "reg", &address) ||
	    of_property_read_string(node, "compatible", &compatible))
		return -EINVAL;
	info.addr = address;
	comma = strchr(compatible, ',');
	strscpy(info.type, comma ? comma + 1 : compatible, sizeof(info.type));
	client = i2c_new_client_device(bus, &info);
	if (IS_ERR(client))
		return PTR_ERR(client);
	clients[count++] = client;
	return 0;
}

static void drop_all(void)
{
	while (count)
		i2c_unregister_device(clients[--count]);
}

static int __init edgekit_monitors_init(void)
{
	struct device_node *parent, *node;
	int result = 0;

	/* Held until the end: a bus that goes takes its devices along. */
	bus = stub_bus();
	if (!bus)
		return -ENODEV;
	parent = of_find_node_by_path(NODE);
	for_each_child_of_node(parent, node) {
		result = add(node);
		if (result) {
			of_node_put(node);
			drop_all();
			break;
		}
	}
	of_node_put(parent);
	if (result)
		i2c_put_adapter(bus);
	return result;
}
module_init(edgekit_monitors_init);

static void __exit edgekit_monitors_exit(void)
{
	drop_all();
	i2c_put_adapter(bus);
}
module_exit(edgekit_monitors_exit);

MODULE_LICENSE("GPL");
MODULE_SOFTDEP("pre: i2c-stub");
MODULE_DESCRIPTION("Power monitors of edgekit's virtual boards");
