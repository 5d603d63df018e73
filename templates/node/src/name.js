/** The service's name in the catalog. */
export const NAME = "{{name}}";
