package ovs

import (
	"maps"
	"slices"

	"github.com/ovn-org/libovsdb/model"
)

// Tables and columns of ovs-vswitchd.conf.db(5), as far as they matter here. What changes all the
// time, such as statistics, is left out, and so never sent. Rows are not changed once they are in a
// view.

type switchRow struct {
	UUID    string   `ovsdb:"_uuid"`
	Bridges []string `ovsdb:"bridges"`
	NextCfg int      `ovsdb:"next_cfg"` // counts changes
	CurCfg  int      `ovsdb:"cur_cfg"`  // last change that ovs-vswitchd has carried out
}

type bridgeRow struct {
	UUID         string            `ovsdb:"_uuid"`
	Name         string            `ovsdb:"name"`
	DatapathType string            `ovsdb:"datapath_type"`
	FailMode     *string           `ovsdb:"fail_mode"`
	Ports        []string          `ovsdb:"ports"`
	ExternalIDs  map[string]string `ovsdb:"external_ids"`
}

type portRow struct {
	UUID        string            `ovsdb:"_uuid"`
	Name        string            `ovsdb:"name"`
	Interfaces  []string          `ovsdb:"interfaces"`
	Tag         *int              `ovsdb:"tag"`
	VLANMode    *string           `ovsdb:"vlan_mode"` // none with a tag: access
	Trunks      []int             `ovsdb:"trunks"`
	Protected   bool              `ovsdb:"protected"`
	ExternalIDs map[string]string `ovsdb:"external_ids"`
}

type interfaceRow struct {
	UUID        string            `ovsdb:"_uuid"`
	Name        string            `ovsdb:"name"`
	Type        string            `ovsdb:"type"`
	Options     map[string]string `ovsdb:"options"`
	MTURequest  *int              `ovsdb:"mtu_request"`
	ExternalIDs map[string]string `ovsdb:"external_ids"`
	OFPort      *int              `ovsdb:"ofport"`  // -1: see Error
	Error       *string           `ovsdb:"error"`   // of ovs-vswitchd
	IfIndex     *int              `ovsdb:"ifindex"` // changes when ovs-vswitchd has made a device anew
}

// markRow is a table that nobody has asked ovsdb-server for; see [view.settle].
type markRow struct {
	UUID string `ovsdb:"_uuid"`
	Name string `ovsdb:"system_name"`
}

const (
	database       = "Open_vSwitch"
	switchTable    = "Open_vSwitch"
	bridgeTable    = "Bridge"
	portTable      = "Port"
	interfaceTable = "Interface"
	markTable      = "AutoAttach"
)

func schema() (model.ClientDBModel, error) {
	return model.NewClientDBModel(database, map[string]model.Model{
		switchTable:    &switchRow{},
		bridgeTable:    &bridgeRow{},
		portTable:      &portRow{},
		interfaceTable: &interfaceRow{},
		markTable:      &markRow{},
	})
}

// The library copies rows whenever they cross its border, by way of JSON unless a row knows better.

func (r *switchRow) CloneModel() model.Model          { c := r.clone(); return &c }
func (r *switchRow) CloneModelInto(to model.Model)    { *to.(*switchRow) = r.clone() }
func (r *bridgeRow) CloneModel() model.Model          { c := r.clone(); return &c }
func (r *bridgeRow) CloneModelInto(to model.Model)    { *to.(*bridgeRow) = r.clone() }
func (r *portRow) CloneModel() model.Model            { c := r.clone(); return &c }
func (r *portRow) CloneModelInto(to model.Model)      { *to.(*portRow) = r.clone() }
func (r *interfaceRow) CloneModel() model.Model       { c := r.clone(); return &c }
func (r *interfaceRow) CloneModelInto(to model.Model) { *to.(*interfaceRow) = r.clone() }

func (r switchRow) clone() switchRow {
	r.Bridges = slices.Clone(r.Bridges)
	return r
}

func (r bridgeRow) clone() bridgeRow {
	r.FailMode, r.Ports, r.ExternalIDs = clonePtr(r.FailMode), slices.Clone(r.Ports), maps.Clone(r.ExternalIDs)
	return r
}

func (r portRow) clone() portRow {
	r.Interfaces, r.Trunks, r.ExternalIDs = slices.Clone(r.Interfaces), slices.Clone(r.Trunks), maps.Clone(r.ExternalIDs)
	r.Tag, r.VLANMode = clonePtr(r.Tag), clonePtr(r.VLANMode)
	return r
}

func (r interfaceRow) clone() interfaceRow {
	r.Options, r.ExternalIDs = maps.Clone(r.Options), maps.Clone(r.ExternalIDs)
	r.MTURequest, r.OFPort, r.Error, r.IfIndex = clonePtr(r.MTURequest), clonePtr(r.OFPort), clonePtr(r.Error), clonePtr(r.IfIndex)
	return r
}

func clonePtr[T any](p *T) *T {
	if p == nil {
		return nil
	}
	return new(*p)
}

// value is what an optional column holds; zero for nothing.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
