package bridge

// SetReadBuffer makes the driver miss notifications sooner.
func (d *Driver) SetReadBuffer(bytes int) error { return d.view.monitor.SetReadBuffer(bytes) }
