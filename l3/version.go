package l3

// Version orders what is said of one router: by epoch, then by revision. Versions only grow, so a
// message that is late or doubled is recognised by its version.
type Version struct {
	Epoch    uint64 // of the router's binding to its host
	Revision uint64 // the router's Generation
}

// Newer reports whether v is newer than another version.
func (v Version) Newer(than Version) bool {
	if v.Epoch != than.Epoch {
		return v.Epoch > than.Epoch
	}
	return v.Revision > than.Revision
}

// Version returns the version that the host must realise.
func (a Assignment) Version() Version { return Version{a.Epoch, a.Revision} }

// Version returns the version that is recorded.
func (p Placement) Version() Version { return Version{p.Epoch, p.Revision} }

// Version returns the router's last version on the host.
func (d Departure) Version() Version { return Version{d.Epoch, d.Revision} }

// Version returns the version that runs; the zero Version is not known.
func (r RunningRouter) Version() Version { return Version{r.Epoch, r.Revision} }

// Version returns the version that the router's host must realise.
func (st *RouterState) Version() Version { return Version{st.Epoch, st.Generation} }
