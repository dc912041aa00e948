package rest

import (
	"net/http"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// tags registers the operations on the tags of the resources at a path.
func (a *api) tags(item, thing string, kind l3.Kind) {
	t := table[[]string, []string]{
		custom("tags", texts, given|needed, func(r *[]string) []string { return *r }, func(s *[]string, v []string) { *s = v }),
	}
	shape := t.schema(0)
	a.handle("GET "+item+"/tags", operation{summary: "List the tags of a " + thing, status: http.StatusOK, answers: shape,
		run: func(r *http.Request, who l3.Caller) ([]byte, error) {
			tags, err := a.service.GetTags(r.Context(), who, kind, r.PathValue("id"))
			if err != nil {
				return nil, err
			}
			return t.write(nil, &tags), nil
		}})
	a.handle("PUT "+item+"/tags", operation{summary: "Replace the tags of a " + thing, accepts: t.schema(inPost), status: http.StatusOK, answers: shape,
		run: func(r *http.Request, who l3.Caller) ([]byte, error) {
			body, err := readBody(r)
			if err != nil {
				return nil, err
			}
			tags, err := t.read(body, inPost)
			if err != nil {
				return nil, err
			}
			if tags, err = a.service.SetTags(r.Context(), who, kind, r.PathValue("id"), tags); err != nil {
				return nil, err
			}
			return t.write(nil, &tags), nil
		}})
	a.handle("DELETE "+item+"/tags", operation{summary: "Remove all tags of a " + thing, status: http.StatusNoContent,
		run: func(r *http.Request, who l3.Caller) ([]byte, error) {
			_, err := a.service.SetTags(r.Context(), who, kind, r.PathValue("id"), []string{})
			return nil, err
		}})
	a.handle("GET "+item+"/tags/{tag}", operation{summary: "Whether a " + thing + " has a tag", status: http.StatusNoContent,
		run: func(r *http.Request, who l3.Caller) ([]byte, error) {
			tags, err := a.service.GetTags(r.Context(), who, kind, r.PathValue("id"))
			if err == nil && !slices.Contains(tags, r.PathValue("tag")) {
				err = &l3.Error{Kind: l3.ErrNotFound, Name: "TagNotFound", Message: "Tag " + show(r.PathValue("tag")) + " could not be found."}
			}
			return nil, err
		}})
	a.handle("PUT "+item+"/tags/{tag}", operation{summary: "Add a tag to a " + thing, status: http.StatusCreated,
		run: func(r *http.Request, who l3.Caller) ([]byte, error) {
			tag, err := label.read(r.PathValue("tag"))
			if err != nil {
				return nil, invalid("tag", err)
			}
			return nil, a.service.AddTag(r.Context(), who, kind, r.PathValue("id"), tag)
		}})
	a.handle("DELETE "+item+"/tags/{tag}", operation{summary: "Remove a tag from a " + thing, status: http.StatusNoContent,
		run: func(r *http.Request, who l3.Caller) ([]byte, error) {
			return nil, a.service.RemoveTag(r.Context(), who, kind, r.PathValue("id"), r.PathValue("tag"))
		}})
}
