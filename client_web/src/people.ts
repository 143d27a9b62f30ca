import { HttpError, errorOf, getJson, request } from "./http";
import { language, type Language } from "./strings";

/** What the relay calls each language's sentence of consent (server/exemplars/consent.py). */
const WORDINGS: Record<Language, string> = { en: "page-1", de: "page-1-de", es: "page-1-es" };

export interface Photo {
  id: string;
  /** null for a photo that was not accepted, which is not kept. */
  created_at: string | null;
  expires_at: string | null;
  accepted: boolean;
  reason: string | null;
  /** Of the reason. */
  kind?: string | null;
  sharpness: number | null;
  box: [number, number, number, number] | null;
}
interface PhotoList {
  person: string;
  exemplars: Photo[];
}

const base = (person: string): string => `/api/people/${person}/exemplars`;

const photoUrl = (person: string, id: string): string => `${base(person)}/${id}`;

/** The photo itself. */
export async function fetchPhoto(person: string, id: string): Promise<Blob> {
  const response = await request(photoUrl(person, id));
  if (!response.ok) throw await errorOf(response);
  return response.blob();
}

/** The photos registered for a person; none for someone unknown. */
export async function listPhotos(person: string): Promise<Photo[]> {
  const response = await request(base(person));
  if (response.status === 404) return [];
  if (!response.ok) throw await errorOf(response);
  return ((await response.json()) as PhotoList).exemplars;
}

/** Registers photos with the person's consent; per photo, whether it was accepted or why not. */
export async function registerPhotos(person: string, files: Iterable<File>, expiresDays: number): Promise<Photo[]> {
  const form = new FormData();
  for (const file of files) form.append("photos", file);
  form.append("consent", "true");
  form.append("wording", WORDINGS[language]); // the sentence of the photo dialog's box
  form.append("expires_days", String(expiresDays));
  try {
    return (await getJson<PhotoList>(base(person), { method: "POST", body: form })).exemplars;
  } catch (error) {
    // no photo was usable: the problem body says of each why
    if (error instanceof HttpError && error.status === 422 && Array.isArray(error.problem.exemplars)) {
      return error.problem.exemplars as Photo[];
    }
    throw error;
  }
}

export async function deletePhoto(person: string, id: string): Promise<void> {
  await remove(photoUrl(person, id));
}

/** Deletes the person whole: photos, rows, cached features. */
export async function deletePerson(person: string): Promise<void> {
  await remove(`/api/people/${person}`);
}

async function remove(url: string): Promise<void> {
  const response = await request(url, { method: "DELETE" });
  if (!response.ok && response.status !== 404) throw await errorOf(response);
}
