package rest

import (
	"slices"
	"strconv"
	"strings"
)

// openAPI describes every operation that is registered, as OpenAPI 3.0 does.
func (a *api) openAPI() schema {
	paths := schema{}
	for _, r := range a.routes {
		where := strings.TrimSuffix(r.path, "{$}")
		item, ok := paths[where].(schema)
		if !ok {
			item = schema{}
			paths[where] = item
		}
		item[strings.ToLower(r.method)] = r.describe(where)
	}
	schemas := schema{"error": schema{"type": "object", "required": []string{"NeutronError"}, "properties": schema{
		"NeutronError": schema{"type": "object", "required": []string{"type", "message", "detail"}, "properties": schema{
			"type": schema{"type": "string"}, "message": schema{"type": "string"}, "detail": schema{"type": "string"},
		}},
	}}, "stranger": schema{"type": "object", "required": []string{"error"}, "properties": schema{
		"error": schema{"type": "object", "properties": schema{
			"code": schema{"type": "integer"}, "title": schema{"type": "string"}, "message": schema{"type": "string"},
		}},
	}}}
	for name, s := range a.schemas {
		schemas[name] = s
	}
	return schema{
		"openapi": "3.0.3",
		"info":    schema{"title": "l3kit: OpenStack Networking API v2.0", "version": "2.0"},
		"paths":   paths,
		"components": schema{
			"schemas":         schemas,
			"securitySchemes": schema{"token": schema{"type": "apiKey", "in": "header", "name": "X-Auth-Token"}},
		},
		"security": []schema{{"token": []string{}}},
	}
}

func (r route) describe(where string) schema {
	var parameters []schema
	for part := range strings.SplitSeq(where, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			parameters = append(parameters, schema{"name": strings.TrimSuffix(name, "}"), "in": "path", "required": true, "schema": schema{"type": "string"}})
		}
	}
	for _, name := range r.query {
		value := schema{"type": "string"}
		if name == "sort_key" && r.sortKeys != nil {
			value["enum"] = r.sortKeys
		}
		parameters = append(parameters, schema{"name": name, "in": "query", "allowEmptyValue": true,
			"schema": schema{"type": "array", "items": value}})
	}
	if r.ifMatch {
		parameters = append(parameters, schema{"name": "If-Match", "in": "header", "schema": schema{"type": "string"}})
	}
	success := schema{"description": "Done"}
	if r.answers != nil {
		success["content"] = asJSON(r.answers)
	}
	out := schema{"summary": r.summary, "responses": schema{
		strconv.Itoa(r.status): success,
		"401":                  schema{"description": "Not authenticated", "content": asJSON(ref("stranger"))},
		"default":              schema{"description": "Refused, or failed", "content": asJSON(ref("error"))},
	}}
	if parameters != nil {
		out["parameters"] = slices.Clip(parameters)
	}
	if r.accepts != nil {
		out["requestBody"] = schema{"required": true, "content": asJSON(r.accepts)}
	}
	if r.open {
		out["security"] = []schema{}
	}
	return out
}

func asJSON(s schema) schema { return schema{"application/json": schema{"schema": s}} }

func ref(name string) schema { return schema{"$ref": "#/components/schemas/" + name} }

func either(a, b schema) schema { return schema{"oneOf": []schema{a, b}} }

// envelopeOf is an object with one member.
func envelopeOf(name string, s schema) schema {
	return schema{"type": "object", "required": []string{name}, "properties": schema{name: s}}
}

// listOf is the answer to a list, with the links of a page.
func listOf(name string, s schema) schema {
	one := schema{"type": "object", "properties": schema{"rel": schema{"type": "string"}, "href": schema{"type": "string"}}}
	return schema{"type": "object", "required": []string{name}, "properties": schema{
		name:            schema{"type": "array", "items": s},
		name + "_links": schema{"type": "array", "items": one},
	}}
}
