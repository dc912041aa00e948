package ovs

// SetVLANs limits the local VLANs that networks get.
func (d *Driver) SetVLANs(first, last uint16) { d.vlans = vlans{first, last} }
