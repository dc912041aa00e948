package dataplane

// Kernel names derive from IDs, as Neutron derives them, so that tools and people who know those
// find their way.
const (
	namespacePrefix = "qrouter-"
	portPrefix      = "qr-"
	gatewayPrefix   = "qg-"
	deviceNameLen   = 14 // Neutron's cut; the kernel allows 15 (IFNAMSIZ - 1)
)

// NamespaceName is the name of the network namespace that realises a router.
func NamespaceName(routerID string) string { return namespacePrefix + routerID }

// PortDevice is the name, in the router's namespace, of the device of an internal port.
func PortDevice(portID string) string { return cut(portPrefix + portID) }

// GatewayDevice is the name, in the router's namespace, of the gateway's device.
func GatewayDevice(portID string) string { return cut(gatewayPrefix + portID) }

func cut(name string) string { return name[:min(len(name), deviceNameLen)] }
